//! Files by what the standard library offers on every system.

use std::fs;
use std::io;
use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry_core::FileContent;

use super::file_system::{File, FileSystem, Mode, Status};

/// A directory tree below a path.
#[derive(Debug)]
pub(crate) struct SystemFiles {
    root: PathBuf,
}

impl SystemFiles {
    /// The tree below `directory`, which is made if there is none.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        crate::directory::create(directory)?;
        let root = directory.canonicalize()?;
        Ok(Self { root })
    }

    fn regular(&self, path: &Path) -> io::Result<(PathBuf, fs::Metadata)> {
        let path = self.root.join(path);
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_file() {
            Ok((path, metadata))
        } else {
            let error = "not a regular file";
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
    }

    fn file(&self, file: fs::File, path: PathBuf) -> Arc<dyn File> {
        Arc::new(SystemFile {
            file,
            path,
            root: self.root.clone(),
        })
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Directories can't be synced here; the system does so by itself.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

impl FileSystem for SystemFiles {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let path = self.root.join(path);
        match crate::directory::create_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::symlink_metadata(&path)?.is_dir() {
                    Ok(())
                } else {
                    Err(io::ErrorKind::NotADirectory.into())
                }
            }
            result => result,
        }
    }

    fn create_unnamed(&self, _directory: &Path) -> io::Result<Arc<dyn File>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let path = self.root.join(path);
        let file = crate::directory::private_file()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(self.file(file, path))
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let (path, _) = self.regular(path)?;
        let mut options = fs::File::options();
        match mode {
            Mode::Read => options.read(true),
            Mode::Write => options.write(true),
        };
        Ok(self.file(options.open(&path)?, path))
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(self.regular(path)?.1.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        sync_directory(&self.root.join(path))
    }

    fn names(&self, directory: &Path, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(directory))? {
            if let Some(name) = entry?.file_name().to_str() {
                each(name);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SystemFile {
    file: fs::File,
    path: PathBuf,
    root: PathBuf,
}

impl FileContent for SystemFile {
    fn try_read_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)
    }
}

impl File for SystemFile {
    fn status(&self) -> io::Result<Status> {
        let metadata = self.file.metadata()?;
        Ok(Status {
            size: metadata.len(),
            #[cfg(unix)]
            names: std::os::unix::fs::MetadataExt::nlink(&metadata),
            // A rename doesn't leave the old name here, and nothing else links.
            #[cfg(not(unix))]
            names: 1,
        })
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let piece = pieces.first().map_or(&[][..], |piece| piece);
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(&self.file, piece, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(&self.file, piece, offset);
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn start_writeback(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, self.root.join(path))
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::*;
    use crate::{FilesystemBlobs, FilesystemOptions};

    crate::blob_store_suite!(portable, {
        let directory = tempfile::tempdir().unwrap();
        let files = Arc::new(SystemFiles::open(directory.path()).unwrap());
        let store = FilesystemBlobs::with_files(files, FilesystemOptions::default(), None);
        (store.unwrap(), directory)
    });
}
