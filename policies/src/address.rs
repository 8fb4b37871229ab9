//! Which addresses the gateway may connect to, so that no configured or redirected name reaches what only this machine's
//! network can reach. To be asked at connect time, for the address that is dialled: a name may resolve differently each time.
//!
//! Loopback is allowed, because local models and tool servers live there. Link-local, where clouds keep credentials, never is.
//! Private networks are allowed where the operator says so. Ranges are from the IANA special-purpose registries (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Loopback,
    Never,
    Private,
    Public,
}

/// An address range: its first address, the length of its prefix in bits, what it is.
type Range<A> = (A, u32, Reach);

/// The first match counts, so single addresses come before the ranges that they lie in.
const V4: &[Range<Ipv4Addr>] = &[
    (Ipv4Addr::new(127, 0, 0, 0), 8, Reach::Loopback),
    (Ipv4Addr::UNSPECIFIED, 32, Reach::Never),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Reach::Never),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Reach::Never),
    (Ipv4Addr::BROADCAST, 32, Reach::Never),
    // Metadata services outside link-local: Alibaba, Oracle, Azure.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Reach::Never),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Reach::Never),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Reach::Never),
    (Ipv4Addr::UNSPECIFIED, 8, Reach::Private),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Reach::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Reach::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Reach::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Reach::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Reach::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Reach::Private),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Reach::Private),
];

/// The same for IPv6, for addresses that do not stand for an IPv4 one.
const V6: &[Range<Ipv6Addr>] = &[
    (Ipv6Addr::LOCALHOST, 128, Reach::Loopback),
    (Ipv6Addr::UNSPECIFIED, 128, Reach::Never),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Reach::Never),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Reach::Never),
    // Teredo carries its IPv4 address scrambled, and nobody runs a model behind it.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, Reach::Never),
    // The metadata service of AWS.
    (Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254), 128, Reach::Never),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Reach::Private),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Reach::Private),
];

/// Prefixes behind which an IPv6 address carries an IPv4 one, and how far right of the IPv4 address's last bit the IPv6
/// address goes on.
const EMBEDDING: &[(Ipv6Addr, u32, u32)] = &[
    // IPv4-mapped.
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 0),
    // IPv4-compatible, deprecated.
    (Ipv6Addr::UNSPECIFIED, 96, 0),
    // IPv4-translated (SIIT).
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, 0),
    // NAT64, well-known and local use.
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, 0),
    // 6to4.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 80),
];

/// Whether the gateway may connect to `ip`; `private_ok` where the operator allowed private networks for this connection.
/// An IPv6 address that stands for an IPv4 one is judged as that one.
pub fn allowed(ip: IpAddr, private_ok: bool) -> bool {
    let reach = match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    };
    match reach {
        Reach::Loopback | Reach::Public => true,
        Reach::Private => private_ok,
        Reach::Never => false,
    }
}

/// Whether this is where Google Cloud's metadata server is, or a stand-in for it on this machine. For the one connection that
/// the operator has pointed there: all others are refused link-local addresses.
pub fn metadata(ip: IpAddr) -> bool {
    let servers =
        [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254))];
    ip.is_loopback() || servers.contains(&ip)
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let within = |(base, length, _): &&Range<Ipv4Addr>| (ip.to_bits() ^ base.to_bits()) >> (32 - length) == 0;
    V4.iter().find(within).map_or(Reach::Public, |(_, _, reach)| *reach)
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    let within = |(base, length, _): &&Range<Ipv6Addr>| shares_prefix(ip, *base, *length);
    match V6.iter().find(within) {
        Some((_, _, reach)) => *reach,
        None => embedded(ip).map_or(Reach::Public, reach_v4),
    }
}

fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let (_, _, shift) = EMBEDDING.iter().find(|(base, length, _)| shares_prefix(ip, *base, *length))?;
    let [.., a, b, c, d] = (ip.to_bits() >> shift).to_be_bytes();
    Some(Ipv4Addr::new(a, b, c, d))
}

fn shares_prefix(ip: Ipv6Addr, base: Ipv6Addr, length: u32) -> bool {
    (ip.to_bits() ^ base.to_bits()) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALWAYS: &[&str] = &[
        "127.0.0.1",
        "127.255.0.9",
        "::1",
        "::ffff:127.0.0.1",
        "8.8.8.8",
        "1.1.1.1",
        "104.18.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "169.253.0.1",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2001:4860:4860::8888",
    ];
    const WHERE_PRIVATE_IS_ALLOWED: &[&str] = &[
        "10.0.0.1",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "0.1.2.3",
        "192.0.0.8",
        "198.18.0.1",
        "198.19.255.255",
        "240.0.0.1",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "2002:c0a8:101::5",
    ];
    const NEVER: &[&str] = &[
        "169.254.169.254",
        "169.254.0.0",
        "0.0.0.0",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "fd00:ec2::254",
        "2001::1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::ffff:255.255.255.255",
    ];

    #[test]
    fn addresses_are_judged_by_what_they_reach() {
        for (table, open, closed) in
            [(ALWAYS, true, true), (WHERE_PRIVATE_IS_ALLOWED, true, false), (NEVER, false, false)]
        {
            for text in table {
                let ip: IpAddr = text.parse().unwrap();
                assert_eq!((allowed(ip, true), allowed(ip, false)), (open, closed), "{text}");
            }
        }
    }

    #[test]
    fn a_metadata_server_is_only_where_google_has_it() {
        for (text, is) in [
            ("169.254.169.254", true),
            ("fd20:ce::254", true),
            ("127.0.0.1", true),
            ("169.254.169.253", false),
            ("fd00:ec2::254", false),
            ("10.0.0.1", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(metadata(text.parse().unwrap()), is, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_embedded_address_is_judged_as_itself(bits: u32, private_ok: bool) {
            let v4 = Ipv4Addr::from_bits(bits);
            let low = u128::from(bits);
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).to_bits() | low;
            let six_to_four = (0x2002_u128 << 112) | (low << 80);
            for v6 in [v4.to_ipv6_mapped(), Ipv6Addr::from_bits(nat64), Ipv6Addr::from_bits(six_to_four)] {
                prop_assert_eq!(allowed(v6.into(), private_ok), allowed(v4.into(), private_ok), "{}", v6);
            }
        }

        #[test]
        fn allowing_private_networks_only_ever_allows_more(bits: u128) {
            let ip = IpAddr::from(Ipv6Addr::from_bits(bits));
            prop_assert!(allowed(ip, true) || !allowed(ip, false));
        }
    }
}
