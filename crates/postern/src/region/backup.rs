//! A copy of a whole region in one file: what S3 holds, DynamoDB's tables and the state, each of one moment, the state's
//! not the earlier one. So whoever owns something in S3 or DynamoDB is in the state, too.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};
use postern_services::dynamodb;
use postern_services::s3::storage::Store;
use postern_store::{ARCHIVE_MAGIC, ArchiveReader, ArchiveWriter, Ledger, Restored, Sources};

use crate::paths::StateDir;

const STATE: &str = "state";
const OBJECTS: &str = "s3";
const TABLES: &str = "dynamodb";
const BUFFER_BYTES: usize = 1 << 20;

/// What a copy held.
pub struct Copied {
    /// The region and the revision of its state.
    pub state: Restored,
    /// How many buckets and objects; none if the copy is of the state alone.
    pub objects: Option<(u64, u64)>,
    /// Of how many accounts there were tables; none if the copy is of the state alone, or from before there were any.
    pub accounts_with_tables: Option<usize>,
}

/// Writes a copy of a region, while it goes on if it runs.
pub fn write(ledger: &Ledger, s3: &Store, tables: &dynamodb::Store, file: &File) -> anyhow::Result<()> {
    // INVARIANT: all moments come after everything that was acknowledged when the copy was asked for.
    let objects = s3.freeze()?;
    let tables = tables.freeze()?;
    let mut archive = ArchiveWriter::new(BufWriter::with_capacity(BUFFER_BYTES, file))?;
    archive.section(STATE, |to| ledger.backup(to).map_err(anyhow::Error::new))?;
    archive.section(OBJECTS, |to| {
        objects.write(to)?;
        Ok::<(), anyhow::Error>(())
    })?;
    archive.section(TABLES, |to| tables.write(to).map_err(anyhow::Error::new))?;
    archive.finish()?;
    file.sync_all().context("cannot write the copy to the disk")
}

/// Writes a copy of a region that does not run. The caller has taken its directory.
pub fn write_stopped(state_dir: &StateDir, file: &File) -> anyhow::Result<()> {
    let region = postern_store::Store::region_in(&state_dir.ledger())?;
    let region = region.with_context(|| format!("there is no region in `{}`", state_dir.root().display()))?;
    let options = postern_store::Options::new(region);
    let ledger = Ledger::open(&state_dir.ledger(), options, Sources::system())?;
    let s3 = open_objects(&state_dir.s3())?;
    let tables = dynamodb::Store::open(&state_dir.dynamodb())?;
    write(&ledger, &s3, &tables, file)
}

fn open_objects(directory: &Path) -> anyhow::Result<Store> {
    Store::open(directory).with_context(|| format!("cannot open what S3 holds in `{}`", directory.display()))
}

/// Makes the state and what S3 holds from a copy. The caller has taken the directory, which is empty, and removes what
/// is there if this fails.
pub fn read(state_dir: &StateDir, mut file: File) -> anyhow::Result<Copied> {
    let mut first = vec![0; ARCHIVE_MAGIC.len()];
    let whole = file.read_exact(&mut first).is_ok() && first == ARCHIVE_MAGIC;
    file.rewind().context("cannot read the copy from its beginning")?;
    if !whole {
        // The copies that the ledger makes by itself, `last.backup`, and those of earlier versions.
        let state = postern_store::restore(&mut BufReader::new(file), &state_dir.ledger())?;
        return Ok(Copied { state, objects: None, accounts_with_tables: None });
    }
    let mut archive = ArchiveReader::new(BufReader::with_capacity(BUFFER_BYTES, file))?;
    let (mut state, mut objects, mut accounts_with_tables) = (None, None, None);
    while let Some(section) = archive.next_section()? {
        match section.as_str() {
            STATE if state.is_none() => {
                state = Some(postern_store::restore(&mut archive, &state_dir.ledger())?);
            }
            OBJECTS if objects.is_none() => {
                let census = Store::restore(&state_dir.s3(), &mut archive)?;
                objects = Some((census.buckets, census.objects));
            }
            TABLES if accounts_with_tables.is_none() => {
                accounts_with_tables = Some(dynamodb::Store::restore(&state_dir.dynamodb(), &mut archive)?);
            }
            other => {
                bail!("the backup holds `{other}`, which this version does not know or which is there twice")
            }
        }
    }
    match (state, objects) {
        (Some(state), Some(objects)) => Ok(Copied { state, objects: Some(objects), accounts_with_tables }),
        (None, _) => bail!("the backup holds no state"),
        (Some(_), None) => bail!("the backup does not say what S3 held"),
    }
}

/// Says in a directory that it is being filled from a copy, until [`Unfinished::done`]: a region never starts in it.
pub struct Unfinished<'a>(&'a StateDir);

impl<'a> Unfinished<'a> {
    /// Puts the mark there, durably.
    pub fn mark(state_dir: &'a StateDir) -> anyhow::Result<Self> {
        let path = state_dir.unfinished();
        let marked = File::create_new(&path).and_then(|mut file| {
            writeln!(
                file,
                "A restore into this directory has begun and has not ended. Nothing here is to be used."
            )?;
            file.sync_all()
        });
        marked.with_context(|| format!("cannot write `{}`", path.display()))?;
        sync(state_dir.root())?;
        Ok(Self(state_dir))
    }

    /// Takes it away: all that is there is on the disk.
    pub fn done(self) -> anyhow::Result<()> {
        sync(self.0.root())?;
        self.remove()
    }

    /// Removes what there is, and the mark last.
    pub fn undo(self) -> anyhow::Result<()> {
        for path in [self.0.ledger(), self.0.s3(), self.0.dynamodb()] {
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("`{}` is left over", path.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.remove()
    }

    fn remove(self) -> anyhow::Result<()> {
        let path = self.0.unfinished();
        std::fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        sync(self.0.root())
    }
}

fn sync(directory: &Path) -> anyhow::Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot write `{}` to the disk", directory.display()))
}
