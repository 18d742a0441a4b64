//! Frames from scratch: written by the letter of the RFCs, without the code under test.

use std::net::Ipv4Addr;

use postern_model::Mac;

/// A packet as a test writes it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub to: Mac,
    pub from: Mac,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub identification: u16,
    /// The flags and the offset, as they stand in the header.
    pub fragment: u16,
    pub options: Vec<u8>,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Tcp { ports: (u16, u16), sequence: u32, acknowledged: u32, flags: u8, options: Vec<u8>, payload: Vec<u8> },
    Udp { ports: (u16, u16), summed: bool, payload: Vec<u8> },
    Icmp { kind: u8, code: u8, rest: [u8; 4], payload: Vec<u8> },
    Raw { protocol: u8, payload: Vec<u8> },
}

pub const DONT_FRAGMENT: u16 = 0x4000;
pub const MORE: u16 = 0x2000;
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

pub fn tcp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), flags: u8) -> Packet {
    let content = Content::Tcp {
        ports: (source.1, destination.1),
        sequence: 1000,
        acknowledged: if flags & ACK == 0 { 0 } else { 2000 },
        flags,
        options: Vec::new(),
        payload: Vec::new(),
    };
    Packet::new(source.0, destination.0, content)
}

pub fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Packet {
    let content = Content::Udp { ports: (source.1, destination.1), summed: true, payload: payload.to_vec() };
    Packet::new(source.0, destination.0, content)
}

pub fn echo(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, identifier: u16) -> Packet {
    let [a, b] = identifier.to_be_bytes();
    let content = Content::Icmp { kind, code: 0, rest: [a, b, 0, 1], payload: b"postern!".to_vec() };
    Packet::new(source, destination, content)
}

/// An ICMP error about the packet in a frame, of which `quoted` bytes are repeated.
pub fn error_about(from: Ipv4Addr, to: Ipv4Addr, kind: u8, code: u8, frame: &[u8], quoted: usize) -> Packet {
    let about = &frame[14..frame.len().min(14 + quoted)];
    let content = Content::Icmp { kind, code, rest: [0; 4], payload: about.to_vec() };
    Packet::new(from, to, content)
}

impl Packet {
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, content: Content) -> Self {
        Self {
            to: Mac([2, 0, 0, 0, 0, 1]),
            from: Mac([2, 0, 0, 0, 0, 2]),
            source,
            destination,
            ttl: 64,
            identification: 7,
            fragment: DONT_FRAGMENT,
            options: Vec::new(),
            content,
        }
    }

    pub fn sent_by(self, from: Mac) -> Self {
        Self { from, ..self }
    }

    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    pub fn fragment(self, fragment: u16, identification: u16) -> Self {
        Self { fragment, identification, ..self }
    }

    /// The frame, complete.
    pub fn build(&self) -> Vec<u8> {
        self.frame(false)
    }

    /// The frame with a partial transport checksum.
    pub fn build_partial(&self) -> Vec<u8> {
        self.frame(true)
    }

    fn protocol(&self) -> u8 {
        match &self.content {
            Content::Tcp { .. } => 6,
            Content::Udp { .. } => 17,
            Content::Icmp { .. } => 1,
            Content::Raw { protocol, .. } => *protocol,
        }
    }

    fn frame(&self, partial: bool) -> Vec<u8> {
        let segment = self.segment(partial);
        let header_bytes = 20 + self.options.len();
        assert_eq!(header_bytes % 4, 0);
        let mut ip = vec![0x40 | (header_bytes / 4) as u8, 0];
        ip.extend(((header_bytes + segment.len()) as u16).to_be_bytes());
        ip.extend(self.identification.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol(), 0, 0]);
        ip.extend(self.source.octets());
        ip.extend(self.destination.octets());
        ip.extend(&self.options);
        let sum = !sum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = Vec::new();
        frame.extend(self.to.0);
        frame.extend(self.from.0);
        frame.extend([8, 0]);
        frame.extend(ip);
        frame.extend(segment);
        frame
    }

    fn segment(&self, partial: bool) -> Vec<u8> {
        match &self.content {
            Content::Tcp { ports, sequence, acknowledged, flags, options, payload } => {
                let mut bytes = Vec::new();
                bytes.extend(ports.0.to_be_bytes());
                bytes.extend(ports.1.to_be_bytes());
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledged.to_be_bytes());
                bytes.extend([((20 + options.len()) / 4 * 16) as u8, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                bytes.extend(options);
                bytes.extend(payload);
                self.put_sum(&mut bytes, 16, partial);
                bytes
            }
            Content::Udp { ports, summed, payload } => {
                let mut bytes = Vec::new();
                bytes.extend(ports.0.to_be_bytes());
                bytes.extend(ports.1.to_be_bytes());
                bytes.extend(((8 + payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                if *summed {
                    self.put_sum(&mut bytes, 6, partial);
                    if !partial && bytes[6..8] == [0, 0] {
                        bytes[6..8].copy_from_slice(&[0xff, 0xff]);
                    }
                }
                bytes
            }
            Content::Icmp { kind, code, rest, payload } => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(rest);
                bytes.extend(payload);
                let sum = !sum(&bytes);
                bytes[2..4].copy_from_slice(&sum.to_be_bytes());
                bytes
            }
            Content::Raw { payload, .. } => payload.clone(),
        }
    }

    fn put_sum(&self, segment: &mut [u8], at: usize, partial: bool) {
        let mut pseudo = Vec::new();
        pseudo.extend(self.source.octets());
        pseudo.extend(self.destination.octets());
        pseudo.extend([0, self.protocol()]);
        pseudo.extend((segment.len() as u16).to_be_bytes());
        let value = if partial {
            sum(&pseudo)
        } else {
            pseudo.extend_from_slice(segment);
            !sum(&pseudo)
        };
        segment[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// The one's complement sum, word by word.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0_u32;
    for pair in bytes.chunks(2) {
        total += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        if total > 0xffff {
            total -= 0xffff;
        }
    }
    total as u16
}

/// Panics unless the checksums of a complete frame are right.
pub fn check_sums(frame: &[u8]) {
    let header_bytes = usize::from(frame[14] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    assert_eq!(sum(&frame[14..14 + header_bytes]), 0xffff, "IP checksum of {frame:02x?}");
    let segment = &frame[14 + header_bytes..14 + total];
    let fragmented = u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff != 0;
    let mut covered = Vec::new();
    match frame[23] {
        _ if fragmented => return,
        1 => {}
        17 if segment[6..8] == [0, 0] => return,
        6 | 17 => {
            covered.extend(&frame[26..34]);
            covered.extend([0, frame[23]]);
            covered.extend((segment.len() as u16).to_be_bytes());
        }
        _ => return,
    }
    covered.extend(segment);
    assert_eq!(sum(&covered), 0xffff, "transport checksum of {frame:02x?}");
}

/// What a frame says: source, destination, the two ports (or identifier and zero), time to live.
pub fn read(frame: &[u8]) -> (Ipv4Addr, Ipv4Addr, (u16, u16), u8) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let transport = 14 + usize::from(frame[14] & 15) * 4;
    let ports = match frame[23] {
        6 | 17 => (word(transport), word(transport + 2)),
        1 => (word(transport + 4), 0),
        _ => (0, 0),
    };
    (address(26), address(30), ports, frame[22])
}
