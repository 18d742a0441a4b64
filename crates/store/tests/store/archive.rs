//! Archives: what is read is what was written, and what was touched is refused.

use std::io::{Read, Write};

use postern_store::{ArchiveReader, ArchiveWriter, StoreError};

fn archive(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new()).unwrap();
    for (name, content) in sections {
        let fill = |to: &mut dyn Write| {
            // In uneven steps, so that frames do not follow the writes.
            content.chunks(70_001).try_for_each(|chunk| to.write_all(chunk)).unwrap();
            Ok::<(), StoreError>(())
        };
        writer.section(name, fill).unwrap();
    }
    writer.finish().unwrap()
}

fn read(file: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut reader = ArchiveReader::new(file).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    while let Some(name) = reader.next_section().map_err(|error| error.to_string())? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|error| error.to_string())?;
        found.push((name, content));
    }
    Ok(found)
}

#[test]
fn what_is_read_is_what_was_written() {
    let long: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let sections: [(&str, &[u8]); 3] = [("one", b"first"), ("empty", b""), ("long", &long)];
    let found = read(&archive(&sections)).unwrap();
    assert!(found.iter().map(|(name, content)| (name.as_str(), content.as_slice())).eq(sections));
    assert_eq!(read(&archive(&[])).unwrap(), []);
}

#[test]
fn a_cut_or_changed_archive_is_refused() {
    let file = archive(&[("one", b"first"), ("two", &[7; 500])]);
    for end in 0..file.len() {
        assert!(read(&file[..end]).is_err(), "cut at {end}");
    }
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x04;
        assert!(read(&changed).is_err(), "changed at {at}");
    }
    let mut longer = file.clone();
    longer.push(b'x');
    assert_eq!(
        read(&longer).unwrap_err(),
        "`the backup` is damaged at frame 7: there is something behind the end"
    );
    assert_eq!(read(&file[..40]).unwrap_err(), "`the backup` is damaged at frame 1: the file ends here");
    assert_eq!(
        read(b"something else\n").unwrap_err(),
        "`the backup` is damaged at its first line: it is not the beginning of a backup"
    );
    let newer = [b"postern-archive 2\n", &file[18..]].concat();
    assert_eq!(
        read(&newer).unwrap_err(),
        "`the backup` has format 2, and this version reads format 1: use a newer version"
    );
}

#[test]
fn frames_stay_in_their_order() {
    let file = archive(&[("one", &[1; 2 << 20])]);
    // Two whole frames of a mebibyte each, which differ in nothing but their place.
    let first = 18 + 13 + 3;
    let frame = 13 + (1 << 20);
    let mut swapped = file.clone();
    swapped[first..first + frame].copy_from_slice(&file[first + frame..first + 2 * frame]);
    swapped[first + frame..first + 2 * frame].copy_from_slice(&file[first..first + frame]);
    assert_ne!(swapped, file);
    assert!(read(&swapped).unwrap_err().contains("frame 1"));
    let doubled = [&file[..first + frame], &file[first..]].concat();
    assert!(read(&doubled).is_err());
    let without = [&file[..first], &file[first + frame..]].concat();
    assert!(read(&without).is_err());
}
