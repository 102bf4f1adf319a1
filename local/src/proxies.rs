//! Where a request comes from, when a reverse proxy passes it on.

use std::{fmt, net::IpAddr, str::FromStr};

use axum::http::{HeaderMap, HeaderName, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The reverse proxies whose word counts: addresses and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

/// `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a list of proxies: the end of a sentence that begins with the setting.
#[derive(Debug, PartialEq, Eq)]
pub struct BadProxies(String);

impl TrustedProxies {
    /// The client that a request comes from: the last address in `X-Forwarded-For` or `Forwarded` (RFC 7239) that
    /// is none of these, if the peer is one of them.
    ///
    /// Each proxy adds the address of its peer at the end, after anything that a client wrote. From the right, the
    /// first address that does not belong to a proxy is the client's. Text that is not an address ends the search
    /// at the proxy that accepted it. A proxy writes one of the two headers and may pass on the other as a client
    /// wrote it: where they name different clients, neither is believed, and the peer is the client.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let said = |name: &HeaderName| {
            let lines = headers.get_all(name).into_iter();
            let lines: Vec<_> = lines
                .map(|line| String::from_utf8_lossy(line.as_bytes()))
                .collect();
            (!lines.is_empty()).then(|| lines.join(","))
        };
        let x_forwarded_for = said(&X_FORWARDED_FOR)
            .map(|said| self.last_stranger(peer, said.split(',').map(addresses_of_item)));
        let forwarded = said(&header::FORWARDED)
            .map(|said| self.last_stranger(peer, forwarded(&said).into_iter()));
        match (x_forwarded_for, forwarded) {
            (Some(one), Some(other)) if one != other => peer,
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => peer,
        }
    }

    fn last_stranger(&self, peer: IpAddr, hops: impl DoubleEndedIterator<Item = Hop>) -> IpAddr {
        let mut client = peer;
        for hop in hops.rev() {
            match hop {
                Hop::Nothing => {}
                Hop::Unknown => break,
                Hop::Address(address) => {
                    client = address;
                    if !self.contains(address) {
                        break;
                    }
                }
            }
        }
        client
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// What one proxy says of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    Address(IpAddr),
    /// `unknown`, a made-up name, or no address at all.
    Unknown,
    /// Between two commas there may be nothing (RFC 9110, section 5.6.1).
    Nothing,
}

fn addresses_of_item(item: &str) -> Hop {
    match item.trim() {
        "" => Hop::Nothing,
        item => node(item),
    }
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &str) -> Hop {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address.parse().ok().map(IpAddr::V6), port),
            None => return Hop::Unknown,
        },
        None => match text.split_once(':') {
            // Of IPv6 without brackets, where no port can follow.
            Some((_, rest)) if rest.contains(':') => (text.parse().ok(), ""),
            Some((address, _)) => (address.parse().ok().map(IpAddr::V4), &text[address.len()..]),
            None => (text.parse().ok(), ""),
        },
    };
    match address {
        Some(address) if is_port(port) => Hop::Address(address.to_canonical()),
        _ => Hop::Unknown,
    }
}

/// Nothing, or a colon and a port: digits, or a name that hides them (RFC 7239, section 6).
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    match port.strip_prefix('_') {
        Some(name) => {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_of_name)
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The hops of `Forwarded` (RFC 7239, section 4): `for=192.0.2.1;proto=https, for="[2001:db8::1]:80"`. An element
/// that is not written so, or says nothing of its client, is of an unknown one.
fn forwarded(header: &str) -> Vec<Hop> {
    let mut hops = Vec::new();
    let mut rest = header;
    loop {
        let (hop, after) = element(rest);
        hops.push(hop);
        match after {
            Some(after) => rest = after,
            None => return hops,
        }
    }
}

/// The first element, and what follows its comma.
fn element(text: &str) -> (Hop, Option<&str>) {
    let mut rest = text.trim_start();
    let mut hop = None;
    let mut is_flawed = false;
    let mut is_empty = true;
    loop {
        rest = rest.trim_start();
        match rest.as_bytes().first() {
            None | Some(b',') => break,
            Some(b';') => {
                rest = &rest[1..];
                is_empty = false;
                continue;
            }
            Some(_) => is_empty = false,
        }
        let Some((name, value, after)) = pair(rest) else {
            // Nothing that follows can be told from what a client wrote.
            is_flawed = true;
            rest = "";
            break;
        };
        if name.eq_ignore_ascii_case("for") {
            is_flawed |= hop.is_some();
            hop = Some(node(&value));
        }
        rest = after;
    }
    let after = rest.strip_prefix(',');
    let hop = match hop {
        Some(hop) if !is_flawed => hop,
        None if is_empty => Hop::Nothing,
        _ => Hop::Unknown,
    };
    (hop, after)
}

/// `name=token` or `name="quoted string"`, and what follows it: the end, a comma or a semicolon.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    if name.is_empty() || !name.bytes().all(is_of_token) {
        return None;
    }
    let mut value = String::new();
    let after = if let Some(quoted) = rest.strip_prefix('"') {
        let mut characters = quoted.chars();
        loop {
            match characters.next()? {
                '"' => break characters.as_str(),
                '\\' => value.push(characters.next()?),
                character => value.push(character),
            }
        }
    } else {
        // Some write an address with a port, or of IPv6, without the quotes that it needs.
        let end = rest.find([',', ';', ' ', '\t', '"']).unwrap_or(rest.len());
        value.push_str(&rest[..end]);
        &rest[end..]
    };
    let after = after.trim_start();
    let is_end = after.is_empty() || after.starts_with([',', ';']);
    (is_end && !value.is_empty()).then_some((name, value, after))
}

/// RFC 9110, section 5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => leads(
                network.to_bits().into(),
                address.to_bits().into(),
                32,
                self.prefix,
            ),
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                leads(network.to_bits(), address.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }

    fn is_without_host(self) -> bool {
        let (bits, length) = match self.address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let host = length - u32::from(self.prefix);
        host == 0 || bits.trailing_zeros() >= host
    }
}

/// Whether two addresses of `length` bits begin with the same `prefix` bits.
fn leads(network: u128, address: u128, length: u32, prefix: u8) -> bool {
    let host = length - u32::from(prefix);
    host == 128 || (network ^ address) >> host == 0
}

impl FromStr for TrustedProxies {
    type Err = BadProxies;

    fn from_str(text: &str) -> Result<Self, BadProxies> {
        text.split(',')
            .map(|item| item.trim().parse())
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl FromStr for Network {
    type Err = BadProxies;

    fn from_str(text: &str) -> Result<Self, BadProxies> {
        let refused = |why: &str| BadProxies(format!("holds {text:?}, {why}."));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let no_network = || refused("which is neither an address nor a network like 10.0.0.0/8");
        let written: IpAddr = address.parse().map_err(|_| no_network())?;
        let length = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => length,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= length && text.split('/').count() == 2)
                .ok_or_else(no_network)?,
        };
        // An address of IPv4 that is written as one of IPv6.
        let address = written.to_canonical();
        let network = if address == written {
            Self { address, prefix }
        } else {
            let prefix = prefix.checked_sub(96).ok_or_else(no_network)?;
            Self { address, prefix }
        };
        if network.prefix == 0 {
            return Err(refused(
                "which is everybody: each client could name any address as its own",
            ));
        }
        if !network.is_without_host() {
            return Err(refused("whose address has bits beyond its prefix"));
        }
        Ok(network)
    }
}

impl fmt::Display for BadProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadProxies {}
