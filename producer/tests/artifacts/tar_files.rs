//! Archives as workers send them, and as hostile containers could make them.

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tar::{Builder, EntryType, Header};

/// A tar of these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content) in files {
        builder.append_data(&mut header(EntryType::Regular, content.len()), path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header
}

/// One entry whose name is exactly `name`, and the end marker.
pub fn raw(name: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut made = entry(name, kind, link, content);
    made.extend([0; 1024]);
    made
}

/// The same without an end marker.
pub fn entry(name: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = header(kind, content.len());
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut made = header.as_bytes().to_vec();
    made.extend(content);
    made.extend(vec![0; (512 - content.len() % 512) % 512]);
    made
}

/// A body that yields these pieces as they are asked for.
pub fn streamed(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
}

/// What large files are made of.
pub const PIECE: usize = 64 << 10;

/// A tar of one file of `pieces` times `piece` ([`PIECE`] bytes), the first of them beginning with `begin`; made while it
/// is sent.
pub fn large(name: &str, begin: &[u8], piece: &[u8], pieces: usize) -> Body {
    assert_eq!(piece.len(), PIECE);
    let mut head = header(EntryType::Regular, PIECE * pieces);
    head.set_path(name).unwrap();
    head.set_cksum();
    let head = Bytes::copy_from_slice(head.as_bytes());
    let mut first = begin.to_vec();
    first.resize(PIECE, b' ');
    let rest = std::iter::repeat_n(Bytes::copy_from_slice(piece), pieces - 1);
    streamed([head, Bytes::from(first)].into_iter().chain(rest).chain([Bytes::from_static(&[0; 1024])]))
}
