//! Networks of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use registry_core::{Error, ErrorKind, Result};

/// The longest text that can be a network.
const TEXT_MAX: usize = 64;

/// All addresses that start with the same bits, or a single one.
///
/// Written as `10.0.0.0/8`, `2001:db8::/32`, or an address alone. An IPv4
/// address in IPv6 clothes (`::ffff:10.0.0.1`) is the IPv4 address, as address
/// and as network; so no IPv4 address is in `::/0`, which has only IPv6 ones.
///
/// ```
/// use registry_auth::Network;
///
/// let office: Network = "10.0.0.0/8".parse()?;
/// assert!(office.contains("10.1.2.3".parse().unwrap()));
/// assert!(office.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!office.contains("11.0.0.1".parse().unwrap()));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    bits: Bits,
    /// How many of the bits count.
    prefix: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bits {
    V4(u32),
    V6(u128),
}

impl Network {
    /// Whether `address` is one of its addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.bits, Bits::of(address)) {
            (Bits::V4(network), Bits::V4(address)) => {
                // Shifted by the whole width, nothing is left to differ.
                let rest = u32::BITS.saturating_sub(self.prefix);
                (network ^ address).checked_shr(rest).unwrap_or(0) == 0
            }
            (Bits::V6(network), Bits::V6(address)) => {
                let rest = u128::BITS.saturating_sub(self.prefix);
                (network ^ address).checked_shr(rest).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Whether it has every address of its family, as `0.0.0.0/0` does. Nobody
    /// is trusted for being in such a network.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// The network of the first `prefix` bits, without those behind them.
    fn new(bits: Bits, prefix: u32) -> Self {
        let bits = match bits {
            Bits::V4(bits) => {
                let rest = u32::BITS.saturating_sub(prefix);
                let kept = u32::MAX.checked_shl(rest).unwrap_or(0);
                Bits::V4(bits & kept)
            }
            Bits::V6(bits) => {
                let rest = u128::BITS.saturating_sub(prefix);
                let kept = u128::MAX.checked_shl(rest).unwrap_or(0);
                Bits::V6(bits & kept)
            }
        };
        Self { bits, prefix }
    }
}

impl Bits {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.into()),
            IpAddr::V6(address) => Self::V6(address.into()),
        }
    }

    fn address(self) -> IpAddr {
        match self {
            Self::V4(bits) => Ipv4Addr::from(bits).into(),
            Self::V6(bits) => Ipv6Addr::from(bits).into(),
        }
    }

    fn width(self) -> u32 {
        match self {
            Self::V4(_) => u32::BITS,
            Self::V6(_) => u128::BITS,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let bits = Bits::of(address);
        Self {
            bits,
            prefix: bits.width(),
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let what = "write an address or a network, such as 10.0.0.0/8 or 2001:db8::/32";
        if text.len() > TEXT_MAX {
            return Err(ErrorKind::RequestInvalid.error(format!("the network is too long; {what}")));
        }
        let malformed = || {
            ErrorKind::RequestInvalid.error(format!("the network {text:?} is malformed; {what}"))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let Some(prefix) = prefix else {
            return Ok(address.into());
        };
        // As a number, it may have a sign, and zeros in front.
        let plain = prefix.bytes().all(|byte| byte.is_ascii_digit())
            && (prefix == "0" || !prefix.starts_with('0'));
        let prefix: u32 = prefix
            .parse()
            .ok()
            .filter(|_| plain)
            .ok_or_else(malformed)?;
        let bits = match address {
            IpAddr::V4(address) => Bits::V4(address.into()),
            IpAddr::V6(address) => Bits::V6(address.into()),
        };
        if prefix > bits.width() {
            return Err(malformed());
        }
        let network = Self::new(bits, prefix);
        if network.bits != bits {
            return Err(ErrorKind::RequestInvalid.error(format!(
                "the network {text:?} has bits set behind its prefix; write {network}, or \
                 {address} for this one address"
            )));
        }
        // Above that many bits, all addresses are IPv4 ones.
        let inner = prefix.checked_sub(u128::BITS.saturating_sub(u32::BITS));
        match (inner, Bits::of(network.bits.address())) {
            (Some(prefix), bits @ Bits::V4(_)) => Ok(Self { bits, prefix }),
            _ => Ok(network),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits.address().fmt(f)?;
        if self.prefix == self.bits.width() {
            return Ok(());
        }
        write!(f, "/{}", self.prefix)
    }
}

/// Any number of networks.
///
/// ```
/// use registry_auth::{Network, Networks};
///
/// let networks = ["10.0.0.0/8", "::1"];
/// let networks: Networks = networks
///     .into_iter()
///     .map(str::parse::<Network>)
///     .collect::<Result<_, _>>()?;
/// assert!(networks.contains("::1".parse().unwrap()));
/// assert!(!networks.contains("::2".parse().unwrap()));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether `address` is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The networks, in the order they were given in.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// What stands for everybody at an address who may take another one at will:
/// an IPv4 address, or the 64 bits of IPv6 that one household has.
pub(crate) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::{Network, Networks};

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_start_like_it() {
        for (text, yes, no) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"][..],
                &["9.255.255.255", "11.0.0.0", "::a00:1", "::10.0.0.1"][..],
            ),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.6/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.8"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "::1"]),
            ("::/0", &["::", "ffff::1"], &["0.0.0.0", "::ffff:1.2.3.4"]),
            (
                "2001:db8::/32",
                &["2001:db8::", "2001:db8:ffff::1"],
                &["2001:db9::", "2001:db7:ffff::"],
            ),
            ("::1", &["::1"], &["::", "::2", "127.0.0.1"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
            ("::ffff:0:0/96", &["1.2.3.4"], &["::1"]),
            ("::ffff:1.2.3.4", &["1.2.3.4"], &["1.2.3.5"]),
        ] {
            for inside in yes {
                assert!(
                    network(text).contains(address(inside)),
                    "{text} has {inside}"
                );
            }
            for outside in no {
                assert!(
                    !network(text).contains(address(outside)),
                    "{text} hasn't {outside}"
                );
            }
        }
    }

    #[test]
    fn what_means_the_same_is_written_the_same() {
        for (text, written) in [
            ("10.0.0.1/32", "10.0.0.1"),
            ("::1/128", "::1"),
            ("2001:DB8:0:0::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(network(text).to_string(), written);
            assert_eq!(network(text), network(written));
        }
    }

    #[test]
    fn only_a_network_of_all_addresses_is_everything() {
        for (text, everything) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("::ffff:0:0/96", true),
            ("0.0.0.0/1", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(network(text).is_everything(), everything, "{text}");
        }
    }

    #[test]
    fn a_malformed_network_is_an_error_that_says_what_to_write() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "10.0.0.0 /8",
            "10.0.0.0/8 ",
            "[::1]",
            "fe80::1%eth0",
            "localhost",
            "10.0.0.*",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/４",
            "10.0.0.0:80",
            "10.0.0.0/99999999999",
        ] {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.contains("write an address or a network"), "{error}");
        }
        for (text, instead) in [
            ("10.0.0.1/8", "write 10.0.0.0/8, or 10.0.0.1 "),
            ("10.0.0.0/0", "write 0.0.0.0/0, or 10.0.0.0 "),
            ("2001:db8::1/64", "write 2001:db8::/64, or 2001:db8::1 "),
            ("::ffff:10.0.0.0/95", "write ::fffe:0:0/95, or "),
        ] {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.contains(instead), "{error}");
        }
        for (length, reason) in [(64, "is malformed"), (65, "is too long")] {
            let error = "1".repeat(length).parse::<Network>().unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let long = "1".repeat(1 << 16);
        let error = long.parse::<Network>().unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn any_of_several_networks_will_do() {
        let networks = |texts: &[&str]| texts.iter().copied().map(network).collect::<Networks>();
        let some = networks(&["10.0.0.0/8", "::1"]);
        assert!(some.contains(address("10.1.1.1")) && some.contains(address("::1")));
        assert!(!some.contains(address("127.0.0.1")) && !some.is_empty());
        assert_eq!(some.iter().count(), 2);
        let none = networks(&[]);
        assert!(!none.contains(address("10.1.1.1")) && none.is_empty());
    }

    /// An address as text of zeros and ones, in the family it belongs to.
    fn digits(address: IpAddr) -> (usize, String) {
        match address {
            IpAddr::V4(address) => (4, format!("{:032b}", u32::from(address))),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(inner) => (4, format!("{:032b}", u32::from(inner))),
                None => (6, format!("{:0128b}", u128::from(address))),
            },
        }
    }

    /// Addresses near each other, so that networks have some.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let few = proptest::sample::select(vec![0_u32, 1, 0x0a00_0000, 0xffff_ffff]);
        (few, 0_u32..32, any::<u8>()).prop_map(|(base, bit, family)| {
            let bits = base ^ (1 << bit);
            match family % 3 {
                0 => Ipv4Addr::from(bits).into(),
                1 => Ipv4Addr::from(bits).to_ipv6_mapped().into(),
                _ => {
                    let high = u128::from(bits) << (family / 3 % 96);
                    Ipv6Addr::from(high).into()
                }
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn matching_follows_the_definition(
            network in addresses(),
            length in 0_usize..=128,
            other in addresses(),
        ) {
            let (family, first) = digits(network);
            let length = length.min(first.len());
            // Zeros behind the prefix.
            let zeros = "0".repeat(first.len() - length);
            let first = format!("{}{zeros}", &first[..length]);
            let base: IpAddr = if family == 4 {
                Ipv4Addr::from(u32::from_str_radix(&first, 2).unwrap()).into()
            } else {
                Ipv6Addr::from(u128::from_str_radix(&first, 2).unwrap()).into()
            };
            let parsed: Network = format!("{base}/{length}").parse().unwrap();
            // What starts like it is in it, and nothing of the other family.
            let (other_family, digits) = digits(other);
            let expected = family == other_family && digits.starts_with(&first[..length]);
            prop_assert_eq!(parsed.contains(other), expected, "{} {}", parsed, other);
            prop_assert_eq!(parsed.contains(network), true);
            prop_assert_eq!(parsed.to_string().parse::<Network>().unwrap(), parsed);
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f.:/]{0,40}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
            }
        }
    }
}
