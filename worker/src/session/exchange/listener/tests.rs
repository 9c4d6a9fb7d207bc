use super::*;

#[test]
fn the_advertised_address_gets_the_bound_port_if_it_names_none() {
    let bound: SocketAddr = "10.0.0.1:7171".parse().unwrap();
    for (configured, expected) in [
        (None, "10.0.0.1:7171"),
        (Some("gpu-1.example"), "gpu-1.example:7171"),
        (Some("gpu-1.example:9000"), "gpu-1.example:9000"),
        (Some("192.0.2.7"), "192.0.2.7:7171"),
        (Some("fd00::5"), "[fd00::5]:7171"),
        (Some("[fd00::5]:9000"), "[fd00::5]:9000"),
    ] {
        assert_eq!(advertised(configured, bound), expected);
    }
}

#[test]
fn the_interface_towards_this_machine_is_loopback() {
    assert_eq!(towards("127.0.0.1", 7070).unwrap(), IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn where_to_listen_is_read_from_text() {
    assert_eq!("auto".parse(), Ok(PeerListen::Auto));
    assert_eq!("off".parse(), Ok(PeerListen::Off));
    assert_eq!("127.0.0.1:7171".parse(), Ok(PeerListen::At(([127, 0, 0, 1], 7171).into())));
    assert!("7171".parse::<PeerListen>().is_err());
}
