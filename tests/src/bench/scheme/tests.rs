use super::*;

#[test]
fn a_scheme_is_read_as_it_is_written_and_knows_what_it_sends() {
    for (text, written, each_way) in [
        ("f32", "f32", 2.0),
        ("bf16", "bf16", 1.5),
        ("shard-5", "shard-5-f32", 6.0),
        ("shard-5-bf16", "shard-5-bf16", 3.5),
        ("shard-2-f32", "shard-2-f32", 3.0),
    ] {
        let scheme: Scheme = text.parse().unwrap();
        assert_eq!(scheme.to_string(), written);
        assert_eq!(scheme.each_way().unwrap(), each_way, "{text}");
    }
    for wrong in ["", "f16", "shard", "shard-1", "shard-x-bf16", "shard-5-f16"] {
        assert!(wrong.parse::<Scheme>().is_err(), "{wrong:?}");
    }
}
