//! What is installed where, compared with what should be and put right.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use kept_files::{FileError, Links};
use sha2::{Digest, Sha256};

use super::judge::{self, Candidate};
use super::{
    CONFIGURATION_FILE, InstallError, Installed, LOOPBACK, MAIN_PLUGIN, OUR_LOOPBACK, PLUGINS,
    Phase, configuration,
};
use crate::config::Cni;

/// A file that comes and goes: containerd reads its folder anew for a file that goes, not for one
/// that comes.
const SENTINEL: &str = ".sotto-reload";
/// Most bytes of a configuration (a guess: a thousand times what any has).
pub(super) const CONFIGURATION_LIMIT: u64 = 1 << 20;
const PLUGIN_MODE: u32 = 0o755;
const CONFIGURATION_MODE: u32 = 0o644;

/// A file's SHA-256.
type Hash = [u8; 32];

/// Sotto's part of the node's file system.
#[derive(Debug)]
pub(crate) struct Place {
    settings: Cni,
    runtime_directory: PathBuf,
    /// Hashes of files that have not changed since.
    hashes: BTreeMap<PathBuf, (Stamp, Hash)>,
    /// Whether the runtime was made to look since the configuration is there.
    told_runtime: bool,
}

/// What a look found and left.
#[derive(Debug)]
pub(crate) struct Look {
    /// What is there now.
    pub(crate) installed: Installed,
    /// What was missing or altered, and was written.
    pub(crate) written: Vec<PathBuf>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 4], [u64; 3]);

impl Stamp {
    fn of(file: &Metadata) -> Self {
        let times = [
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ];
        Self(times, [file.dev(), file.ino(), file.size()])
    }
}

impl Place {
    /// The place that the settings describe; touches nothing.
    pub(crate) fn new(settings: Cni, runtime_directory: &Path) -> Self {
        Self {
            settings,
            runtime_directory: runtime_directory.to_owned(),
            hashes: BTreeMap::new(),
            told_runtime: false,
        }
    }

    /// Says whether Sotto could be installed here, as far as that shows without writing.
    ///
    /// # Errors
    /// The first obstacle, with its cure.
    pub(crate) fn foresee(&self) -> Result<(), InstallError> {
        self.sources()?;
        judge::judge(self.candidates()?)?;
        Ok(())
    }

    /// Looks at everything and writes what is missing, as far as `phase` allows.
    ///
    /// # Errors
    /// What cannot be written, or whose network is in the way. What stands, stands.
    pub(crate) fn look(&mut self, phase: Phase) -> Result<Look, InstallError> {
        let mut written = Vec::new();
        let plugins = self.sources()?;
        self.create(&self.settings.plugin_directory)?;
        for plugin in &plugins {
            written.extend(self.install_plugin(plugin)?);
        }
        written.extend(self.install_loopback(&plugins)?);
        let permit = judge::judge(self.candidates()?)?;
        let installed = match phase {
            Phase::Starting => Installed::Plugins,
            Phase::Serving => {
                written.extend(self.install_configuration(&plugins)?);
                Installed::Everything {
                    ignored: permit.ignored,
                }
            }
        };
        Ok(Look { installed, written })
    }

    /// Plugins that the source folder has.
    fn sources(&self) -> Result<Vec<&'static str>, InstallError> {
        let folder = &self.settings.plugin_source;
        let there = PLUGINS
            .into_iter()
            .filter(|plugin| folder.join(plugin).is_file());
        let there: Vec<_> = there.collect();
        if there.contains(&MAIN_PLUGIN) {
            return Ok(there);
        }
        Err(InstallError::NoSource {
            folder: folder.clone(),
        })
    }

    fn install_plugin(&mut self, plugin: &str) -> Result<Option<PathBuf>, InstallError> {
        let source = self.settings.plugin_source.join(plugin);
        let path = self.settings.plugin_directory.join(plugin);
        let wanted = self.hash(&source)?;
        if self.is_copy(&source, &path, wanted)? {
            return Ok(None);
        }
        kept_files::copy(&source, &path, PLUGIN_MODE).map_err(refused(&path))?;
        if self.is_copy(&source, &path, wanted)? {
            Ok(Some(path))
        } else {
            Err(InstallError::Altered { path })
        }
    }

    /// Of another length it is none, however long it takes to read.
    fn is_copy(&mut self, source: &Path, path: &Path, wanted: Hash) -> Result<bool, InstallError> {
        let length = |path: &Path| fs::metadata(path).ok().map(|file| file.len());
        Ok(is_program(path) && length(path) == length(source) && self.hash(path)? == wanted)
    }

    /// Whatever is there already, be it a link that leads nowhere, is somebody's.
    fn install_loopback(&self, plugins: &[&str]) -> Result<Option<PathBuf>, InstallError> {
        if !plugins.contains(&OUR_LOOPBACK) {
            return Ok(None);
        }
        let path = self.settings.plugin_directory.join(LOOPBACK);
        match symlink(OUR_LOOPBACK, &path) {
            Ok(()) => Ok(Some(path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(system("link", &path, error)),
        }
    }

    fn install_configuration(&mut self, plugins: &[&str]) -> Result<Option<PathBuf>, InstallError> {
        let directory = &self.settings.configuration_directory;
        let path = directory.join(CONFIGURATION_FILE);
        let text = configuration::ours(&self.runtime_directory.to_string_lossy(), plugins);
        let found = kept_files::read(&path, CONFIGURATION_LIMIT, Links::Refuse);
        let is_there = matches!(found, Ok(Some(bytes)) if bytes == text.as_bytes());
        if !is_there {
            self.told_runtime = false;
            self.create(directory)?;
            kept_files::write(&path, text.as_bytes(), CONFIGURATION_MODE)
                .map_err(refused(&path))?;
        }
        if !self.told_runtime {
            // Also when it was there: what wrote it may have been killed before this.
            tell_runtime(&self.settings.configuration_directory).map_err(refused(&path))?;
            self.told_runtime = true;
        }
        Ok((!is_there).then_some(path))
    }

    fn candidates(&self) -> Result<Vec<Candidate>, InstallError> {
        let folder = &self.settings.configuration_directory;
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(system("list", folder, error)),
        };
        let mut candidates = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| system("list", folder, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if configuration::is_read(&name) && !is_folder {
                candidates.push(candidate(name, &entry.path()));
            }
        }
        Ok(candidates)
    }

    fn create(&self, folder: &Path) -> Result<(), InstallError> {
        fs::create_dir_all(folder).map_err(|error| system("create directory", folder, error))
    }

    fn hash(&mut self, path: &Path) -> Result<Hash, InstallError> {
        let failed = |error| system("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let stamp = Stamp::of(&metadata);
        if let Some((known, hash)) = self.hashes.get(path)
            && *known == stamp
        {
            return Ok(*hash);
        }
        let hash = hash_of(file.take(metadata.len())).map_err(failed)?;
        self.hashes.insert(path.to_owned(), (stamp, hash));
        Ok(hash)
    }
}

/// Makes containerd read its folder of configurations anew.
pub(super) fn tell_runtime(folder: &Path) -> Result<(), FileError> {
    kept_files::write(&folder.join(SENTINEL), b"", CONFIGURATION_MODE)?;
    remove_sentinel(folder)
}

/// Removes what a crash left of that.
pub(super) fn remove_sentinel(folder: &Path) -> Result<(), FileError> {
    let sentinel = folder.join(SENTINEL);
    kept_files::remove(&sentinel)?;
    kept_files::remove(&kept_files::unfinished(&sentinel))
}

fn candidate(name: String, path: &Path) -> Candidate {
    let network = match kept_files::read(path, CONFIGURATION_LIMIT, Links::Follow) {
        Ok(Some(bytes)) => configuration::read(&name, &bytes),
        Ok(None) => Err("it is a link that leads nowhere".to_owned()),
        Err(error) => Err(service_log::chain(&error)),
    };
    Candidate { name, network }
}

fn is_program(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && found.mode() & 0o7777 == PLUGIN_MODE)
}

fn hash_of(mut file: impl Read) -> io::Result<Hash> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

fn system(verb: &'static str, path: &Path, source: io::Error) -> InstallError {
    refused(path)(FileError::System {
        verb,
        path: path.to_owned(),
        source,
    })
}

fn refused(path: &Path) -> impl FnOnce(FileError) -> InstallError {
    let folder = path.parent().unwrap_or(path).to_owned();
    move |source| InstallError::File {
        folder,
        cure: cure(&source),
        source,
    }
}

fn cure(error: &FileError) -> &'static str {
    let FileError::System { source, .. } = error else {
        return "what stands there is no file of ours, remove it";
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "std's own enum")]
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on its disk",
        ErrorKind::ReadOnlyFilesystem => {
            "it is read-only, name one that can be written, the runtime's too"
        }
        ErrorKind::PermissionDenied => "give it to root (chown), mode 755",
        _ => "is it there, a folder, and root's?",
    }
}
