//! Archives: what honest tools write is taken, everything a hostile container could try is refused with a sentence.

use std::io::{self, Cursor, Read};

use gantry_reports::{ArchiveError, ArchiveLimits, ArchiveSummary, ArtifactPath, ArtifactSink, unpack};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

/// Keeps what it gets, and insists on the order and sizes it was promised.
#[derive(Default)]
struct Kept {
    files: Vec<(String, Vec<u8>)>,
    open: Option<(String, u64, Vec<u8>)>,
}

impl ArtifactSink for Kept {
    fn begin(&mut self, path: &ArtifactPath, size: u64) -> io::Result<()> {
        match self.open.replace((path.to_string(), size, Vec::new())) {
            None => Ok(()),
            Some(_) => Err(io::Error::other("begin inside of a file")),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (_, _, data) = self.open.as_mut().ok_or(io::Error::other("write outside of a file"))?;
        data.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let (path, size, bytes) = self.open.take().ok_or(io::Error::other("end outside of a file"))?;
        assert_eq!(bytes.len() as u64, size);
        self.files.push((path, bytes));
        Ok(())
    }
}

/// Counts what it gets, for archives that must not be kept.
#[derive(Default)]
struct Counted(u64);

impl ArtifactSink for Counted {
    fn begin(&mut self, _: &ArtifactPath, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A header whose name is exactly `name`: the builder of the crate refuses to write bad ones.
fn header(name: &[u8], kind: u8, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn entry(name: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, kind, data.len() as u64).as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), b'0', data)
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != length.to_string().len() + rest.len() {
            length += 1;
        }
        data.extend_from_slice(format!("{length}{rest}").as_bytes());
    }
    entry(b"PaxHeaders/x", b'x', &data)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn read(bytes: &[u8], limits: &ArchiveLimits) -> Result<(ArchiveSummary, Kept), ArchiveError> {
    let mut sink = Kept::default();
    unpack(bytes, limits, &mut sink).map(|summary| (summary, sink))
}

/// The refusal of an archive of `entries`; its message must be one clean line.
fn refusal(entries: &[Vec<u8>]) -> ArchiveError {
    let Err(error) = read(&archive(entries), &ArchiveLimits::default()) else { panic!("was not refused") };
    let message = error.to_string();
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert!(message.len() < 600, "{message}");
    error
}

#[test]
fn what_the_tar_crate_writes_is_read() {
    let mut builder = Builder::new(Vec::new());
    let long = format!("report/{}/index.html", "d".repeat(150));
    for (name, data) in
        [("report/a.txt", "alpha"), ("report/empty", ""), (long.as_str(), "<html>"), ("ü/ñ", "x")]
    {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, data.as_bytes()).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let (summary, kept) = read(&bytes, &ArchiveLimits::default()).unwrap();
    let expected: Vec<(String, Vec<u8>)> =
        [("report/a.txt", "alpha"), ("report/empty", ""), (&long, "<html>"), ("ü/ñ", "x")]
            .map(|(name, data)| (name.to_owned(), data.as_bytes().to_vec()))
            .to_vec();
    assert_eq!(kept.files, expected);
    assert_eq!(
        summary,
        ArchiveSummary { files: 4, directories: 0, unpacked_bytes: 12, packed_bytes: bytes.len() as u64 }
    );
}

#[test]
fn an_archive_as_docker_writes_it_is_read() {
    let deep = format!("test-results/{}/trace.zip", "n".repeat(200));
    let truncated = &deep.as_bytes()[..100];
    let bytes = archive(&[
        entry(b"./", b'5', b""),
        entry(b"test-results/", b'5', b""),
        pax(&[("mtime", "1763720000.123"), ("SCHILY.xattr.user.x", "y")]),
        file("test-results/a.xml", b"<testsuite/>"),
        pax(&[("path", &deep), ("size", "3")]),
        entry(truncated, b'0', b"zip"),
        entry(b"test-results", b'5', b""),
        entry(b"pax_global_header", b'g', b"20 comment=harmless\n"),
        entry(b"old-directory/", b'\0', b""),
        entry(b"old", b'\0', b"1"),
    ]);
    let (summary, kept) = read(&bytes, &ArchiveLimits::default()).unwrap();
    let names: Vec<_> = kept.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["test-results/a.xml", &deep, "old"]);
    assert_eq!((summary.files, summary.directories), (3, 4));
}

#[test]
fn the_padding_of_gnu_tar_and_an_empty_archive_are_fine() {
    let mut bytes = archive(&[file("a", b"1")]);
    bytes.resize(10_240, 0);
    assert_eq!(read(&bytes, &ArchiveLimits::default()).unwrap().0.packed_bytes, 10_240);
    assert_eq!(read(&[0; 1024], &ArchiveLimits::default()).unwrap().0.files, 0);
}

#[test]
fn traversal_and_absolute_names_are_refused() {
    for name in ["../etc/passwd", "a/../../b", "/etc/passwd", "..", "a/.."] {
        let error = refusal(&[file(name, b"x")]);
        assert!(matches!(error, ArchiveError::UnsafeName { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(matches!(refusal(&[entry(name.as_bytes(), b'5', b"")]), ArchiveError::UnsafeName { .. }));
    }
    assert!(matches!(refusal(&[entry(b"", b'0', b"")]), ArchiveError::UnsafeName { .. }));
    assert!(matches!(refusal(&[entry(b"bad\xff", b'0', b"")]), ArchiveError::UnsafeName { .. }));
}

#[test]
fn a_prefix_cannot_smuggle_a_traversal() {
    let mut header = header(b"b", b'0', 0);
    header.as_ustar_mut().unwrap().prefix[..4].copy_from_slice(b"a/..");
    header.set_cksum();
    assert!(matches!(refusal(&[header.as_bytes().to_vec()]), ArchiveError::UnsafeName { .. }));
}

#[test]
fn whatever_is_neither_file_nor_directory_is_refused_by_its_kind() {
    for (kind, what) in [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a device"),
        (b'4', "a device"),
        (b'6', "a named pipe"),
        (b'S', "a sparse file"),
        (b'V', "neither a file nor a directory"),
        (b'M', "neither a file nor a directory"),
        (0xff, "neither a file nor a directory"),
    ] {
        let error = refusal(&[entry(b"odd", kind, b"")]);
        assert!(error.to_string().contains(&format!("\"odd\" is refused because it is {what}")), "{error}");
    }
    assert!(matches!(
        refusal(&[entry(b"././@LongLink", b'K', b"/etc/passwd\0")]),
        ArchiveError::Refused { .. }
    ));
}

#[test]
fn a_symlink_and_then_a_file_through_it_writes_nothing() {
    let mut link = header(b"out", b'2', 0);
    link.set_link_name_literal("/etc").unwrap();
    link.set_cksum();
    let bytes = archive(&[file("ok", b"1"), link.as_bytes().to_vec(), file("out/passwd", b"root::0:0")]);
    let mut sink = Kept::default();
    let error = unpack(&bytes[..], &ArchiveLimits::default(), &mut sink).unwrap_err();
    assert!(matches!(error, ArchiveError::Refused { what: "a symbolic link", .. }));
    assert_eq!(sink.files.len(), 1);
}

#[test]
fn pax_headers_that_disagree_with_the_entry_are_refused() {
    let short_name = [pax(&[("path", "other")]), file("shown", b"x")];
    assert!(matches!(refusal(&short_name), ArchiveError::Ambiguous { what: "name", .. }));
    for size in ["0", "1024", "4096"] {
        let lie = [pax(&[("size", size)]), file("a", b"x")];
        assert!(matches!(refusal(&lie), ArchiveError::Ambiguous { what: "size", .. }));
    }
    let traversal = format!("{}../../../../x", "a/".repeat(60));
    assert!(matches!(
        refusal(&[pax(&[("path", &traversal)]), file("a", b"x")]),
        ArchiveError::UnsafeName { .. }
    ));
    assert!(matches!(
        refusal(&[pax(&[("path", "ü/../../x")]), file("a", b"")]),
        ArchiveError::UnsafeName { .. }
    ));
    assert!(matches!(refusal(&[pax(&[("path", "")]), file("a", b"")]), ArchiveError::Ambiguous { .. }));
    for bad in [
        vec![pax(&[("path", "ü"), ("path", "ö")]), file("a", b"x")],
        vec![pax(&[("size", "1"), ("size", "1")]), file("a", b"x")],
        vec![pax(&[("size", "-1")]), file("a", b"x")],
        vec![pax(&[("a", "b")]), pax(&[("a", "b")]), file("a", b"x")],
        vec![entry(b"x", b'x', b"999999 path=a\n"), file("a", b"x")],
        vec![entry(b"x", b'x', b"0 \n"), file("a", b"x")],
        vec![entry(b"g", b'g', b"11 path=ab\n"), file("a", b"x")],
        vec![pax(&[("path", "ü")])],
        vec![entry(b"././@LongLink", b'L', "ü\0".as_bytes()), pax(&[("path", "ö")]), file("a", b"x")],
    ] {
        let error = refusal(&bad);
        assert!(matches!(error, ArchiveError::Malformed { .. }), "{error}");
    }
    let sparse = [pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "99999999999")]), file("a", b"x")];
    assert!(matches!(refusal(&sparse), ArchiveError::Refused { what: "a sparse file", .. }));
}

#[test]
fn long_names_are_bounded_before_they_are_read() {
    let name = format!("{}\0", "a/".repeat(600));
    let error = refusal(&[entry(b"././@LongLink", b'L', name.as_bytes()), file("a", b"")]);
    assert!(matches!(error, ArchiveError::UnsafeName { .. }), "{error}");
    // The header claims 300 MB of name; nothing of it follows, and nothing of it may be waited for.
    for kind in [b'L', b'x', b'g', b'K'] {
        let bytes = header(b"././@LongLink", kind, 300 << 20).as_bytes().to_vec();
        let error = read(&bytes, &ArchiveLimits::default()).err().unwrap();
        assert!(matches!(error, ArchiveError::ExtensionTooLarge { .. }), "{error}");
        assert!(error.to_string().contains("300 MiB"), "{error}");
    }
    let short = [entry(b"././@LongLink", b'L', b"other\0"), file("shown", b"x")];
    assert!(matches!(refusal(&short), ArchiveError::Ambiguous { what: "name", .. }));
}

#[test]
fn a_name_is_used_once_and_for_one_thing() {
    assert!(matches!(refusal(&[file("a", b"1"), file("./a", b"2")]), ArchiveError::Duplicate { .. }));
    for pair in [
        [file("a", b""), entry(b"a/", b'5', b"")],
        [entry(b"a/", b'5', b""), file("a", b"")],
        [file("a", b""), file("a/b/c", b"")],
        [file("a/b/c", b""), file("a", b"")],
        [file("a/b", b""), entry(b"a/b/c/d", b'5', b"")],
    ] {
        let error = refusal(&pair);
        assert!(matches!(error, ArchiveError::FileAndDirectory { .. }), "{error}");
    }
    // Neighbours in sorting order are not below.
    read(
        &archive(&[file("a-b", b""), file("a.b", b""), file("a0", b""), file("a", b"")]),
        &ArchiveLimits::default(),
    )
    .unwrap();
}

#[test]
fn a_name_cannot_write_into_a_log() {
    let error = refusal(&[file("x\r\n2026-11-20 ERROR fake\u{1b}[2J", b"")]);
    assert!(error.to_string().contains(r"x\r\n2026-11-20 ERROR fake\u{1b}[2J"), "{error}");
    let error = refusal(&[entry("right\u{202e}to\u{2028}left".as_bytes(), b'2', b"")]);
    assert!(error.to_string().contains(r"right\u{202e}to\u{2028}left"), "{error}");
}

#[test]
fn an_archive_that_breaks_off_anywhere_is_noticed() {
    let bytes = archive(&[file("a", &[7; 700]), file("b", b"")]);
    let end_marker = bytes.len() - 1024;
    for length in (0..end_marker + 512).step_by(13).chain([512, 1024, end_marker]) {
        let error = read(&bytes[..length], &ArchiveLimits::default()).err();
        assert!(matches!(error, Some(ArchiveError::Truncated { .. })), "{length}: {error:?}");
    }
}

#[test]
fn damage_and_hidden_data_are_refused() {
    let mut flipped = archive(&[file("a", b"1")]);
    flipped[3] ^= 1;
    assert!(matches!(
        read(&flipped, &ArchiveLimits::default()).err(),
        Some(ArchiveError::Malformed { at: 0, .. })
    ));
    let mut hidden = archive(&[file("a", b"1")]);
    hidden.extend(file("b", b"2"));
    assert!(matches!(read(&hidden, &ArchiveLimits::default()).err(), Some(ArchiveError::Malformed { .. })));
    let mut no_size = header(b"a", b'0', 0);
    no_size.as_old_mut().size.copy_from_slice(b"zzzzzzzzzzz\0");
    no_size.set_cksum();
    assert!(matches!(refusal(&[no_size.as_bytes().to_vec()]), ArchiveError::Malformed { .. }));
    assert!(matches!(refusal(&[entry(b"d", b'5', b"data")]), ArchiveError::Ambiguous { .. }));
}

#[test]
fn each_limit_is_its_own_error_and_names_its_value() {
    let limits = ArchiveLimits { packed_bytes: 4096, unpacked_bytes: 1000, entries: 3 };
    let at_the_limit = archive(&[file("a", &[1; 500]), file("b", &[2; 500]), file("c", b"")]);
    assert!(read(&at_the_limit, &limits).is_ok());
    let error = read(&archive(&[file("a", &[1; 500]), file("b", &[1; 501])]), &limits).err().unwrap();
    assert!(matches!(error, ArchiveError::UnpackedTooLarge { limit: 1000 }));
    let error =
        read(&archive(&[file("a", b""), entry(b"d", b'5', b""), file("b", b""), file("c", b"")]), &limits);
    assert!(matches!(error.err(), Some(ArchiveError::TooManyEntries { limit: 3 })));
    let mut padded = archive(&[file("a", b"1")]);
    padded.resize(4097, 0);
    let error = read(&padded, &limits).err().unwrap();
    assert!(matches!(error, ArchiveError::PackedTooLarge { limit: 4096 }));
    assert!(error.to_string().contains("4 KiB"), "{error}");
}

#[test]
fn a_bomb_is_refused_by_what_it_claims() {
    let mut bomb = header(b"bomb", b'0', 0);
    bomb.as_old_mut().size.copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    bomb.set_cksum();
    let error = refusal(&[bomb.as_bytes().to_vec()]);
    assert!(error.to_string().contains("2 GiB"), "{error}");
    // One below the unpacked limit, but more than may be sent.
    let error = refusal(&[header(b"big", b'0', 2 << 30).as_bytes().to_vec()]);
    assert!(error.to_string().contains("512 MiB"), "{error}");
}

/// An archive of endless empty directories, made while it is read.
struct Endless {
    entry: u64,
    block: Cursor<Vec<u8>>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.block.position() == self.block.get_ref().len() as u64 {
            self.entry += 1;
            let name = format!("directory-{}/", self.entry);
            self.block = Cursor::new(entry(
                name.as_bytes(),
                if self.entry.is_multiple_of(2) { b'0' } else { b'5' },
                b"",
            ));
        }
        self.block.read(buffer)
    }
}

#[test]
fn a_hundred_thousand_entries_are_cut_short() {
    let mut endless = Endless { entry: 0, block: Cursor::default() };
    let error = unpack(&mut endless, &ArchiveLimits::default(), &mut Counted::default()).unwrap_err();
    assert!(error.to_string().contains("more than 20000 artifacts"), "{error}");
    assert!(endless.entry < 20_200, "{}", endless.entry);
}

#[test]
fn a_large_file_streams_through_in_small_pieces() {
    struct Pieces(u64, usize);
    impl ArtifactSink for Pieces {
        fn begin(&mut self, _: &ArtifactPath, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0 += bytes.len() as u64;
            self.1 = self.1.max(bytes.len());
            Ok(())
        }
        fn end(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let size = 200_u64 << 20;
    let stream = Cursor::new(header(b"big", b'0', size).as_bytes().to_vec())
        .chain(io::repeat(1).take(size))
        .chain(io::repeat(0).take(1024));
    let mut pieces = Pieces(0, 0);
    unpack(stream, &ArchiveLimits::default(), &mut pieces).unwrap();
    assert_eq!(pieces.0, size);
    assert!(pieces.1 <= 64 << 10);
}

#[test]
fn errors_of_reader_and_sink_pass_through() {
    struct Full;
    impl ArtifactSink for Full {
        fn begin(&mut self, _: &ArtifactPath, _: u64) -> io::Result<()> {
            Err(io::Error::new(io::ErrorKind::StorageFull, "disk full"))
        }
        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            unreachable!()
        }
        fn end(&mut self) -> io::Result<()> {
            unreachable!()
        }
    }
    let error = unpack(&archive(&[file("a", b"1")])[..], &ArchiveLimits::default(), &mut Full).unwrap_err();
    assert!(matches!(error, ArchiveError::Sink(error) if error.kind() == io::ErrorKind::StorageFull));

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let error = unpack(Broken, &ArchiveLimits::default(), &mut Counted::default()).unwrap_err();
    assert!(matches!(error, ArchiveError::Read(error) if error.kind() == io::ErrorKind::ConnectionReset));
}

/// Entries with plausible and hostile fields, so that the generated archives get past their checksums.
fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof!["[a-c./\\\\]{0,12}", "[a-c]/[a-c]"].prop_map(String::into_bytes);
    let name = prop_oneof![4 => name, 1 => proptest::collection::vec(any::<u8>(), 0..100)];
    let kind =
        prop_oneof![4 => Just(b'0'), 2 => Just(b'5'), 1 => Just(b'x'), 1 => Just(b'L'), 1 => any::<u8>()];
    (name, kind, proptest::collection::vec(any::<u8>(), 0..700))
        .prop_map(|(name, kind, data)| entry(&name, kind, &data))
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = unpack(&bytes[..], &ArchiveLimits::default(), &mut Counted::default());
    }

    #[test]
    fn any_entries_give_safe_unique_names_or_a_clean_refusal(entries in proptest::collection::vec(any_entry(), 0..12)) {
        match read(&archive(&entries), &ArchiveLimits::default()) {
            Ok((summary, kept)) => {
                prop_assert_eq!(summary.files, kept.files.len() as u64);
                let mut names: Vec<_> = kept.files.iter().map(|(name, _)| name.clone()).collect();
                prop_assert!(names.iter().all(|name| ArtifactPath::parse(name).is_ok_and(|path| path.as_str() == name)));
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), kept.files.len());
            }
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
        }
    }

    #[test]
    fn what_is_written_comes_back(files in proptest::collection::btree_map("[a-z]{1,8}/[a-zA-Z0-9 üé._-]{1,120}x", proptest::collection::vec(any::<u8>(), 0..2000), 0..8)) {
        let mut builder = Builder::new(Vec::new());
        for (name, data) in &files {
            let mut header = Header::new_gnu();
            header.set_size(data.len() as u64);
            builder.append_data(&mut header, name, &data[..]).unwrap();
        }
        let (_, kept) = read(&builder.into_inner().unwrap(), &ArchiveLimits::default()).unwrap();
        prop_assert_eq!(kept.files, files.into_iter().collect::<Vec<_>>());
    }
}
