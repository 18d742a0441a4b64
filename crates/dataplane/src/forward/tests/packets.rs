//! Rewriting against writing anew, and parsing against any bytes.

use std::net::Ipv4Addr;

use postern_model::Mac;
use proptest::prelude::*;

use super::frames::{self, Content, DONT_FRAGMENT, MORE, Packet, check_sums};
use crate::forward::packet::embedded::Embedded;
use crate::forward::packet::rewrite::{Sum, rewrite, rewrite_error};
use crate::forward::packet::{Ipv4, Tuple, dhcp, fragment, mss};

fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn any_content() -> impl Strategy<Value = Content> {
    let payload = || proptest::collection::vec(any::<u8>(), 0..60);
    let options = proptest::collection::vec(1_u8..2, 0..10).prop_map(|o| vec![1; o.len() / 4 * 4]);
    prop_oneof![
        (any::<(u16, u16)>(), any::<(u32, u32)>(), any::<u8>(), options, payload()).prop_map(
            |(ports, (sequence, acknowledged), flags, options, payload)| Content::Tcp {
                ports,
                sequence,
                acknowledged,
                flags,
                options,
                payload
            }
        ),
        (any::<(u16, u16)>(), any::<bool>(), payload()).prop_map(|(ports, summed, payload)| Content::Udp {
            ports,
            summed,
            payload
        }),
        (prop_oneof![Just(0_u8), Just(8)], any::<[u8; 4]>(), payload())
            .prop_map(|(kind, rest, payload)| Content::Icmp { kind, code: 0, rest, payload }),
        payload().prop_map(|payload| Content::Raw { protocol: 47, payload }),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let options = (0_usize..=10).prop_map(|words| vec![1; words * 4]);
    (any_address(), any_address(), 1_u8.., any::<u16>(), options, any_content()).prop_map(
        |(source, destination, ttl, identification, options, content)| Packet {
            ttl,
            identification,
            options,
            ..Packet::new(source, destination, content)
        },
    )
}

fn any_tuple() -> impl Strategy<Value = Tuple> {
    (any_address(), any_address(), any::<(u16, u16)>()).prop_map(|(source, destination, ports)| Tuple {
        source,
        destination,
        source_port: ports.0,
        destination_port: ports.1,
    })
}

/// The packet as it would have been written with another tuple.
fn with_tuple(packet: &Packet, to: &Tuple, ttl: u8) -> Packet {
    let mut changed = Packet { source: to.source, destination: to.destination, ttl, ..packet.clone() };
    match &mut changed.content {
        Content::Tcp { ports, .. } | Content::Udp { ports, .. } => {
            *ports = (to.source_port, to.destination_port);
        }
        Content::Icmp { rest, .. } => {
            let [a, b] = to.source_port.to_be_bytes();
            (rest[0], rest[1]) = (a, b);
        }
        Content::Raw { .. } => {}
    }
    changed
}

proptest! {
    #[test]
    fn rewriting_is_writing_anew(packet in any_packet(), to in any_tuple(), ttl in 1_u8.., padding in 0_usize..20) {
        let mut frame = packet.build();
        frame.extend(vec![0xaa; padding]);
        let parsed = Ipv4::parse(&frame).unwrap();
        rewrite(&mut frame, &parsed, &to, ttl, Sum::Whole).unwrap();
        let mut anew = with_tuple(&packet, &to, ttl).build();
        anew.extend(vec![0xaa; padding]);
        prop_assert_eq!(frame, anew);
    }

    #[test]
    fn a_partial_checksum_stays_one(mut packet in any_packet(), to in any_tuple(), ttl in 1_u8..) {
        if let Content::Udp { summed, .. } = &mut packet.content {
            *summed = true;
        }
        let mut frame = packet.build_partial();
        let parsed = Ipv4::parse(&frame).unwrap();
        rewrite(&mut frame, &parsed, &to, ttl, Sum::Partial).unwrap();
        let anew = with_tuple(&packet, &to, ttl);
        prop_assert_eq!(&frame, &anew.build_partial());
        if matches!(packet.content, Content::Tcp { .. } | Content::Udp { .. }) {
            fragment::complete_checksum(&mut frame, &parsed).unwrap();
            prop_assert_eq!(frame, anew.build());
        }
    }

    #[test]
    fn an_error_is_rewritten_with_what_it_is_about(
        about in any_packet(), to in any_tuple(), outer in (any_address(), any_address()), quoted in 28_usize..200,
        kind in prop_oneof![Just(3_u8), Just(11), Just(12)],
    ) {
        // Half of a checksum cannot be kept right; nobody can tell.
        let quoted = quoted.max(20 + about.options.len() + 8) & !1;
        let inner = about.build();
        let error = frames::error_about(outer.0, about.source, kind, 1, &inner, quoted);
        let mut frame = error.build();
        let parsed = Ipv4::parse(&frame).unwrap();
        let embedded = Embedded::parse(&frame, &parsed);
        let short_of_ports = matches!(&about.content, Content::Raw { .. });
        prop_assert!(embedded.is_some() || short_of_ports);
        if let Some(embedded) = embedded {
            prop_assert_eq!((embedded.source, embedded.destination), (about.source, about.destination));
        }
        rewrite_error(&mut frame, &parsed, outer, &to, 9).unwrap();
        let anew = frames::error_about(outer.0, outer.1, kind, 1, &with_tuple(&about, &to, about.ttl).build(), quoted);
        prop_assert_eq!(frame, anew.ttl(9).build());
    }

    #[test]
    fn a_segment_size_is_only_ever_lowered(announced in any::<u16>(), most in any::<u16>(), before in 0_usize..5, partial in any::<bool>()) {
        let with = |size: u16| {
            let mut options = vec![1; before];
            options.extend([2, 4]);
            options.extend(size.to_be_bytes());
            options.extend(vec![1; 3]);
            options.resize(options.len().div_ceil(4) * 4, 0);
            let mut packet = frames::tcp((Ipv4Addr::new(10, 0, 0, 1), 5), (Ipv4Addr::new(10, 0, 0, 2), 6), frames::SYN);
            if let Content::Tcp { options: place, .. } = &mut packet.content {
                *place = options;
            }
            if partial { packet.build_partial() } else { packet.build() }
        };
        let mut frame = with(announced);
        let parsed = Ipv4::parse(&frame).unwrap();
        mss::clamp(&mut frame, &parsed, most, if partial { Sum::Partial } else { Sum::Whole });
        prop_assert_eq!(frame, with(announced.min(most)));
    }

    #[test]
    fn pieces_put_together_are_the_packet(length in 0_usize..4000, mtu in 100_u16..1600, partial in any::<bool>()) {
        let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        let packet = frames::udp((Ipv4Addr::new(10, 0, 0, 1), 5), (Ipv4Addr::new(10, 0, 0, 2), 6), &payload).fragment(0, 99);
        let mut frame = if partial { packet.build_partial() } else { packet.build() };
        let parsed = Ipv4::parse(&frame).unwrap();
        let pieces = fragment::fragments(&mut frame, &parsed, mtu, if partial { Sum::Partial } else { Sum::Whole }).unwrap();
        let whole = packet.build();
        let mut together: Vec<u8> = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let parsed = Ipv4::parse(piece).unwrap();
            check_sums(piece);
            prop_assert!(parsed.total_bytes <= usize::from(mtu));
            let flags = u16::from_be_bytes([piece[20], piece[21]]);
            prop_assert_eq!(usize::from(flags & 0x1fff) * 8, together.len());
            prop_assert_eq!(flags & MORE != 0, index + 1 < pieces.len());
            prop_assert_eq!(flags & DONT_FRAGMENT, 0);
            together.extend(&piece[34..]);
        }
        prop_assert_eq!(&together[..], &whole[34..]);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        take_everything(&bytes);
    }

    #[test]
    fn no_damaged_frame_panics(
        packet in any_packet(), damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        cut in any::<Option<u8>>(), repair in any::<bool>(),
    ) {
        let mut frame = packet.build();
        for (at, value) in damage {
            let at = usize::from(at) % frame.len();
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(usize::from(cut));
        }
        if repair && frame.len() >= 34 {
            // Else the IP checksum would hide most of the rest.
            let end = (14 + usize::from(frame[14] & 15) * 4).clamp(34, frame.len());
            frame[24..26].copy_from_slice(&[0, 0]);
            let sum = !frames::sum(&frame[14..end]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        take_everything(&frame);
    }
}

/// Every parser and writer, on whatever the bytes parse as.
fn take_everything(bytes: &[u8]) {
    let Ok(packet) = Ipv4::parse(bytes) else { return };
    let to = Tuple {
        source: Ipv4Addr::new(1, 2, 3, 4),
        destination: Ipv4Addr::new(5, 6, 7, 8),
        source_port: 9,
        destination_port: 10,
    };
    let _ = Embedded::parse(bytes, &packet);
    let lease = dhcp::Lease {
        mac: Mac([2, 0, 0, 0, 0, 2]),
        address: to.source,
        cidr: "1.2.3.0/24".parse().unwrap(),
        router: to.destination,
        resolver: to.destination,
        mtu: 9001,
        hostname: Some("ip-1-2-3-4"),
        domain: None,
    };
    let _ = dhcp::answer(bytes, &packet, &lease);
    for sum in [Sum::Whole, Sum::Partial] {
        let mut frame = bytes.to_vec();
        let _ = rewrite(&mut frame, &packet, &to, 3, sum);
        mss::clamp(&mut frame, &packet, 1000, sum);
        let _ = fragment::fragments(&mut frame, &packet, 100, sum);
        let mut frame = bytes.to_vec();
        let _ = rewrite_error(&mut frame, &packet, (to.source, to.destination), &to, 3);
    }
}
