use std::io::Read;

use proptest::prelude::*;

use super::*;

fn entry(archive: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o4755);
    archive.append_data(&mut header, name, data).unwrap();
}

/// Feeds `archive` in pieces of `step` bytes and unpacks what comes out.
fn filtered(
    archive: &[u8],
    step: usize,
    choose: impl FnMut(&Path, EntryKind) -> Option<PathBuf>,
) -> Result<Vec<(String, Vec<u8>)>, TarError> {
    let mut filter = TarFilter::new(choose);
    let mut out = Vec::new();
    for piece in archive.chunks(step.max(1)) {
        filter.push(Bytes::copy_from_slice(piece), &mut out)?;
    }
    filter.finish()?;
    out.push(end_of_archive());
    let bytes = out.concat();
    let mut files = Vec::new();
    for file in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut file = file.unwrap();
        assert_eq!(file.header().entry_type(), EntryType::Regular);
        assert_eq!(file.header().mode().unwrap(), 0o755, "no set-uid bit goes on");
        let name = String::from_utf8(file.path_bytes().into_owned()).unwrap();
        let mut data = Vec::new();
        file.read_to_end(&mut data).unwrap();
        files.push((name, data));
    }
    Ok(files)
}

fn keep(path: &Path, _: EntryKind) -> Option<PathBuf> {
    Some(path.to_owned())
}

#[test]
fn chosen_files_go_on_under_their_new_names() {
    let mut archive = tar::Builder::new(Vec::new());
    entry(&mut archive, EntryType::Directory, "reports/", b"");
    entry(&mut archive, EntryType::Regular, "reports/a.xml", &[7; 1000]);
    entry(&mut archive, EntryType::Regular, "reports/b.txt", &[8; 512]);
    entry(&mut archive, EntryType::Regular, "reports/empty.xml", b"");
    let archive = archive.into_inner().unwrap();
    let files = filtered(&archive, 100, |path, _| {
        (path.extension()? == "xml").then(|| Path::new("cypress").join(path))
    });
    assert_eq!(
        files.unwrap(),
        [
            ("cypress/reports/a.xml".to_owned(), vec![7; 1000]),
            ("cypress/reports/empty.xml".to_owned(), vec![])
        ]
    );
}

#[test]
fn links_and_devices_never_go_on() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut link = Header::new_gnu();
    link.set_entry_type(EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "reports/passwd", "/etc/passwd").unwrap();
    link.set_entry_type(EntryType::Link);
    archive.append_link(&mut link, "reports/hard", "x".repeat(300)).unwrap();
    entry(&mut archive, EntryType::Fifo, "reports/pipe", b"");
    entry(&mut archive, EntryType::Regular, "reports/z", b"z");
    let archive = archive.into_inner().unwrap();
    let mut special = Vec::new();
    let files = filtered(&archive, 512, |path, kind| {
        if kind == EntryKind::Special {
            special.push(path.display().to_string());
        }
        Some(path.to_owned())
    });
    assert_eq!(files.unwrap(), [("reports/z".to_owned(), b"z".to_vec())]);
    assert_eq!(special, ["reports/passwd", "reports/hard", "reports/pipe"]);
}

#[test]
fn names_in_pax_headers_are_read_whole() {
    let long = format!("reports/{}/naïve file\nwith a newline.xml", "deep/".repeat(60));
    let record = format!(" path={long}\n");
    let mut length = record.len() + 1;
    while length.to_string().len() + record.len() != length {
        length += 1;
    }
    let mut archive = tar::Builder::new(Vec::new());
    let pax = format!("{length}{record}20 ignored=somehow\n");
    entry(&mut archive, EntryType::XHeader, "PaxHeaders", pax.as_bytes());
    entry(&mut archive, EntryType::Regular, "reports/truncated", b"data");
    entry(&mut archive, EntryType::Regular, "reports/plain", b"");
    let files = filtered(&archive.into_inner().unwrap(), 7, keep).unwrap();
    assert_eq!(files, [(long, b"data".to_vec()), ("reports/plain".to_owned(), vec![])]);
}

#[test]
fn an_archive_that_is_cut_short_or_absurd_is_refused() {
    let mut archive = tar::Builder::new(Vec::new());
    entry(&mut archive, EntryType::Regular, "a", &[1; 5000]);
    let whole = archive.into_inner().unwrap();
    assert_eq!(filtered(&whole[..3000], 512, keep), Err(TarError::Truncated));
    assert_eq!(filtered(&whole[..100], 512, keep), Err(TarError::Truncated));

    let absurd = header_block(b"x", EntryType::XHeader, MAX_EXTENSION + 1, 0o644, 0);
    assert_eq!(filtered(&absurd, 512, keep), Err(TarError::Extension(MAX_EXTENSION + 1)));
}

#[test]
fn files_beyond_the_octal_size_field_keep_their_size() {
    let header = file_header(b"huge".to_vec(), 20 << 30, 0o644, 0);
    assert_eq!(Header::from_byte_slice(&header).entry_size().unwrap(), 20 << 30);
}

proptest! {
    #[test]
    fn any_archive_survives_in_pieces_of_any_size(
        files in prop::collection::vec(("[a-zé ]{1,40}(/[a-z ]{1,70}){0,6}", prop::collection::vec(any::<u8>(), 0..2000)), 0..8),
        step in 1_usize..3000,
    ) {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, data) in &files {
            entry(&mut archive, EntryType::Regular, name, data);
        }
        let archive = archive.into_inner().unwrap();
        prop_assert_eq!(filtered(&archive, step, keep).unwrap(), files);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), step in 1_usize..600) {
        let mut filter = TarFilter::new(keep);
        let mut out = Vec::new();
        for piece in bytes.chunks(step) {
            if filter.push(Bytes::copy_from_slice(piece), &mut out).is_err() {
                break;
            }
        }
    }
}
