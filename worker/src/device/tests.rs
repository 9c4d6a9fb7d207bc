use super::*;

#[test]
fn choices_are_read_as_they_are_shown() {
    for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:3,1"] {
        assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
    }
    assert_eq!("cuda:3,1".parse(), Ok(DeviceChoice::Cuda(vec![3, 1])));
}

#[test]
fn what_is_no_choice_is_refused_and_named() {
    assert_eq!("".parse(), Ok(DeviceChoice::Auto));
    for text in ["gpu", "cuda:", "cuda:x", "cuda:0,", "cuda:-1", "cuda:0,0", "cpu:0", "CUDA"] {
        let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("device {text:?}: expected")), "{error}");
    }
}
