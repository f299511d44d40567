//! Opening a database: creating it whole or not at all, its schema, the chain it belongs to.

use crate::{
    config::{ChainIdentity, StoreConfig},
    error::{StoreError, TxError, TxResult},
    index,
    overlay::Overlay,
    prune,
    record::{RecordKey, header_revision},
    shared::{Contained, OpenDatabase, Opener, Shared, guarded},
    tables::{
        CONTAINED, GATE, META, Marks, OLDEST_SCHEMA_VERSION, PROOFS, SCHEMA_VERSION, Tables, le_u64, meta,
    },
};
use assay_types::{NewPayloadRequestForm, Revision, Root, Slot};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend as _,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Memory for the pages of a database that no node has.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Opens or creates the database at `path` and checks that it is this chain's.
pub(crate) fn open(path: &Path, config: &StoreConfig) -> Result<Shared, StoreError> {
    let (file, cache_bytes) = (path.to_owned(), config.cache_bytes);
    if !file.exists() {
        create(path, &config.identity)?;
    }
    open_with(path, config, Box::new(move || open_file(&file, cache_bytes)))
}

/// As `open`, with another way to open the file; the file must be there or be made by `opener`.
pub(crate) fn open_with(path: &Path, config: &StoreConfig, opener: Opener) -> Result<Shared, StoreError> {
    let database = opener()?;
    database.with(path, |db| initialize(db, &config.identity))?;
    let found = database.read(path, read_identity)?;
    let version = found.0;
    check_identity(path, found, &config.identity)?;
    if version < SCHEMA_VERSION {
        bring_up(path, &database)?;
        tracing::info!(database = %path.display(), from = version, to = SCHEMA_VERSION,
            "the database has this version's schema now; an older Assay does not open it any more");
    }
    let has_other_forms = database.with(path, |db| note_form(path, db, config.request_form))?;
    let contained = database.read(path, read_contained)?;
    remove_leftovers(path);
    let mut shared = Shared::new(path.to_owned(), opener, database, contained);
    shared.has_other_forms = has_other_forms;
    Ok(shared)
}

/// Opens a database for reading alone, whatever chain it is of: the file stays as it is, and others may read it too. What
/// it says it is of.
pub(crate) fn open_reading(path: &Path) -> Result<(Shared, ChainIdentity), StoreError> {
    let file = path.to_owned();
    let opener: Opener = Box::new(move || open_unchanged(&file));
    let database = opener()?;
    of_any_chain(path, opener, database)
}

fn open_unchanged(path: &Path) -> Result<OpenDatabase, StoreError> {
    guarded(path, || {
        let overlay = Overlay::open(path)?;
        // An empty one would be made into a database, in memory.
        if overlay.len().map_err(redb::StorageError::from)? == 0 {
            return Err(TxError::Damaged("it is empty"));
        }
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        Ok(builder.create_with_backend(overlay)?.into())
    })
}

/// Opens a database of whatever chain; nobody else has it then.
pub(crate) fn open_exclusive(path: &Path) -> Result<(Shared, ChainIdentity), StoreError> {
    let file = path.to_owned();
    let opener: Opener = Box::new(move || open_file(&file, CACHE_BYTES));
    let database = opener()?;
    let (version, _) = database.read(path, read_identity)?;
    if (OLDEST_SCHEMA_VERSION..SCHEMA_VERSION).contains(&version) {
        bring_up(path, &database)?;
    }
    of_any_chain(path, opener, database)
}

fn of_any_chain(
    path: &Path,
    opener: Opener,
    database: OpenDatabase,
) -> Result<(Shared, ChainIdentity), StoreError> {
    let found = database.read(path, read_identity)?;
    let identity = checked_schema(path, found)?;
    let contained = database.read(path, read_contained)?;
    let shared = Shared::new(path.to_owned(), opener, database, contained);
    Ok((shared, identity))
}

fn io_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<OpenDatabase, StoreError> {
    let shown = path.display().to_string();
    guarded(path, || {
        let mut builder = Database::builder();
        builder
            .set_cache_size(cache_bytes)
            .set_repair_callback(move |session| {
                tracing::info!(
                    database = shown,
                    progress = session.progress(),
                    "checking the database after an unclean end"
                );
            });
        Ok(builder.open(path)?.into())
    })
}

/// What a database is made under before it has its name.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new.{}", std::process::id()));
    path.with_file_name(name)
}

/// Makes a database under another name and gives it its own when it is complete and on disk: a kill on the way leaves
/// no file that does not open.
pub(crate) fn create(path: &Path, identity: &ChainIdentity) -> Result<(), StoreError> {
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|e| io_error(directory, &e))?;
    let new = temporary(path);
    // Left over from a killed process that had the same id.
    let _ = fs::remove_file(&new);
    guarded(&new, || initialize(&Database::create(&new)?, identity))?;
    // A link fails where another process was faster, a rename would put its database aside. Not every file system has
    // links.
    let named = match fs::hard_link(&new, path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists && !path.exists() => {
            fs::rename(&new, path)
        }
        _ => Ok(()),
    };
    let _ = fs::remove_file(&new);
    named.map_err(|e| io_error(path, &e))?;
    fs::File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| io_error(directory, &e))
}

/// Called with the database's lock held: nobody else is creating it.
fn remove_leftovers(path: &Path) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return;
    };
    let prefix = format!("{name}.new.");
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes schema and identity into an empty database; leaves any other as it is.
fn initialize(database: &Database, identity: &ChainIdentity) -> TxResult<()> {
    let read = database.begin_read()?;
    if read.list_tables()?.next().is_some() {
        return Ok(());
    }
    drop(read);
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    {
        let mut tables = Tables::open(&tx)?;
        let meta = &mut tables.meta;
        meta.insert(meta::SCHEMA_VERSION, &SCHEMA_VERSION.to_le_bytes()[..])?;
        meta.insert(
            meta::GENESIS_VALIDATORS_ROOT,
            identity.genesis_validators_root.as_slice(),
        )?;
        meta.insert(meta::CHAIN_ID, &identity.chain_id.to_le_bytes()[..])?;
        meta.insert(meta::CONFIG_NAME, identity.config_name.as_bytes())?;
    }
    tx.commit()?;
    Ok(())
}

/// Schema version and chain; the identity only of versions we know, since a later one may keep it otherwise.
fn read_identity(read: &ReadTransaction) -> TxResult<(u32, Option<ChainIdentity>)> {
    const NO_META: TxError = TxError::Damaged("it does not say what it is");
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(NO_META),
    };
    let get = |name| -> TxResult<Vec<u8>> { Ok(meta.get(name)?.ok_or(NO_META)?.value().to_vec()) };
    let version = get(meta::SCHEMA_VERSION)?.try_into().map_err(|_| NO_META)?;
    let version = u32::from_le_bytes(version);
    if !(OLDEST_SCHEMA_VERSION..=SCHEMA_VERSION).contains(&version) {
        return Ok((version, None));
    }
    let identity = ChainIdentity {
        genesis_validators_root: Root::from_slice(&get(meta::GENESIS_VALIDATORS_ROOT)?)
            .map_err(|_| NO_META)?,
        chain_id: le_u64(&get(meta::CHAIN_ID)?).ok_or(NO_META)?,
        config_name: String::from_utf8_lossy(&get(meta::CONFIG_NAME)?).into_owned(),
    };
    Ok((version, Some(identity)))
}

/// The version that a database says it has.
pub(crate) fn schema_version(read: &ReadTransaction) -> TxResult<u32> {
    let bytes = read.open_table(META)?;
    let version = bytes.get(meta::SCHEMA_VERSION)?;
    let version = version.and_then(|version| version.value().try_into().ok());
    version
        .map(u32::from_le_bytes)
        .ok_or(TxError::Damaged("it does not say what it is"))
}

/// Brings an older schema up to this one.
fn bring_up(path: &Path, database: &OpenDatabase) -> Result<(), StoreError> {
    let removed = database.with(path, migrate)?;
    if removed > 0 {
        tracing::warn!(
            database = %path.display(),
            removed,
            "envelopes whose block was never seen with its payload are removed: nothing says what they were verified for; they \
             are taken and verified anew when they come again"
        );
    }
    Ok(())
}

/// All of it in one commit. What schemas 1 and 2 wrote is what this one writes, byte for byte; proofs of `beta` get the payload
/// of the block that they name. Returns how many were removed, for they have none.
fn migrate(database: &Database) -> TxResult<u64> {
    let mut removed = 0;
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    {
        let mut tables = Tables::open(&tx)?;
        let mut marks = Marks::read(&tables.meta)?;
        let mut envelopes = Vec::new();
        for entry in tables.proofs.iter()? {
            let (key, header) = entry?;
            if header_revision(header.value()) == Revision::Beta {
                envelopes.push(RecordKey::from_bytes(key.value()));
            }
        }
        for key in envelopes {
            match index::row(&tables, &key.root)?.and_then(|row| row.payload) {
                Some(payload) => {
                    tables.bound.insert(&key.to_bytes(), &payload.0)?;
                    if tables.payloads.get(&payload.0)?.is_none() {
                        tables.payloads.insert(&payload.0, key.slot.0)?;
                    }
                }
                None => {
                    prune::remove_proof(&mut tables, &mut marks, key)?;
                    removed += 1;
                }
            }
        }
        tables.meta.insert(meta::MARKS, &marks.to_bytes()[..])?;
        tables
            .meta
            .insert(meta::SCHEMA_VERSION, &SCHEMA_VERSION.to_le_bytes()[..])?;
    }
    tx.commit()?;
    Ok(removed)
}

/// Writes down with which form of the request root this node runs. Returns whether others ran with another one, or may have: a
/// database that did not keep it from its beginning does not know.
fn note_form(path: &Path, database: &Database, form: NewPayloadRequestForm) -> TxResult<bool> {
    /// Changes that are remembered.
    const MAX_FORMS: usize = 16;
    const UNKNOWN: u8 = b'?';
    let (mut forms, is_new) = {
        let read = database.begin_read()?;
        let forms = read.open_table(META)?.get(meta::REQUEST_FORMS)?;
        let forms = forms.map(|forms| forms.value().to_vec());
        let is_new = read.open_table(PROOFS)?.is_empty()? && read.open_table(GATE)?.is_empty()?;
        (forms, is_new)
    };
    let letter = form.as_str().as_bytes();
    if let Some(known) = &forms
        && known.ends_with(letter)
    {
        return Ok(known.len() > 1);
    }
    if let Some(known) = &forms {
        tracing::warn!(
            database = %path.display(),
            %form,
            before = %String::from_utf8_lossy(known),
            "NEW_PAYLOAD_REQUEST_FORM changed: payloads of Gloas have other request roots now; a proof that was verified for the \
             root before is kept until the same validator's new one of that block and type takes its place, and counts only \
             where that form is set again"
        );
    }
    let forms = forms.get_or_insert_with(|| if is_new { Vec::new() } else { vec![UNKNOWN] });
    forms.extend_from_slice(letter);
    // Only where it ran last, and that there was another, is ever asked.
    let kept = forms.len().saturating_sub(MAX_FORMS);
    let mut tx = database.begin_write()?;
    tx.set_quick_repair(true);
    {
        let mut tables = Tables::open(&tx)?;
        tables.meta.insert(meta::REQUEST_FORMS, &forms[kept..])?;
    }
    tx.commit()?;
    Ok(forms.len() > 1)
}

/// The chain, where the schema is ours.
fn checked_schema(
    path: &Path,
    (version, found): (u32, Option<ChainIdentity>),
) -> Result<ChainIdentity, StoreError> {
    let path = path.to_owned();
    found.ok_or_else(|| {
        if version > SCHEMA_VERSION {
            StoreError::NewerSchema {
                path,
                found: version,
                known: SCHEMA_VERSION,
            }
        } else {
            StoreError::Corrupted {
                path,
                why: format!("schema version {version} never existed"),
            }
        }
    })
}

fn check_identity(
    path: &Path,
    found: (u32, Option<ChainIdentity>),
    expected: &ChainIdentity,
) -> Result<(), StoreError> {
    let found = checked_schema(path, found)?;
    let path = path.to_owned();
    if (found.genesis_validators_root, found.chain_id)
        == (expected.genesis_validators_root, expected.chain_id)
    {
        Ok(())
    } else {
        Err(StoreError::OtherChain {
            path,
            found: Box::new(found),
            expected: Box::new(expected.clone()),
        })
    }
}

fn read_contained(read: &ReadTransaction) -> TxResult<Contained> {
    let table = read.open_table(CONTAINED)?;
    let mut until = std::collections::BTreeMap::new();
    for entry in table.iter()?.take(crate::MAX_CONTAINED) {
        let (validator, slot) = entry?;
        until.insert(validator.value(), Slot(slot.value()));
    }
    Ok(Contained::loaded(until))
}
