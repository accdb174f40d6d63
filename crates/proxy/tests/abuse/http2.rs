//! HTTP/2 frames, built byte by byte (RFC 9113 section 4.1).

use fastrand::Rng;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://localhost/`, from the static table except for the authority (RFC 7541 appendix A).
const GET: &[u8] = b"\x82\x86\x84\x41\x09localhost";

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short payload");
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// Returns a name, and the bytes of a whole connection.
pub(crate) fn attack(random: &mut Rng) -> (&'static str, Vec<u8>) {
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    let name = match random.u8(0..7) {
        0 => {
            for index in 0..300 {
                let stream = 2 * index + 1;
                frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, stream, GET);
                frame(&mut bytes, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            }
            "rapid reset"
        }
        1 => {
            frame(&mut bytes, HEADERS, END_STREAM, 1, GET);
            for _ in 0..2_000 {
                frame(&mut bytes, CONTINUATION, 0, 1, b"\x00\x01a\x01b");
            }
            "endless headers"
        }
        2 => {
            for _ in 0..5_000 {
                frame(&mut bytes, PING, 0, 0, &[0; 8]);
                frame(&mut bytes, SETTINGS, 0, 0, &[]);
            }
            "pings without reading"
        }
        3 => {
            // `transfer-encoding: chunked` and a wrong `content-length`.
            let mut block = GET.to_vec();
            block.extend_from_slice(b"\x00\x11transfer-encoding\x07chunked");
            frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 1, &block);
            let mut block = b"\x83\x86\x84\x41\x09localhost".to_vec();
            block.extend_from_slice(b"\x00\x0econtent-length\x013");
            frame(&mut bytes, HEADERS, END_HEADERS, 3, &block);
            frame(&mut bytes, DATA, END_STREAM, 3, b"longer than it says");
            "framing of another version"
        }
        4 => {
            let mut block = b"\x82\x86\x44\x0b/a\r\nx: evil".to_vec();
            block.extend_from_slice(b"\x41\x09localhost");
            frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 1, &block);
            let mut block = GET.to_vec();
            block.extend_from_slice(b"\x00\x01x\x1bb\r\nGET /smuggled HTTP/1.1\r\n\r");
            frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 3, &block);
            "line ends in fields"
        }
        5 => {
            for stream in 0..200 {
                frame(
                    &mut bytes,
                    WINDOW_UPDATE,
                    0,
                    stream,
                    &0x7fff_ffff_u32.to_be_bytes(),
                );
                frame(&mut bytes, DATA, 0, stream, &[0; 100]);
            }
            "frames for streams that are not"
        }
        _ => {
            let length = random.usize(1..3_000);
            bytes.extend((0..length).map(|_| random.u8(..)));
            "frames of noise"
        }
    };
    (name, bytes)
}
