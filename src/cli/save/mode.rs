//! Files that only their owner can read: captures contain other people's data.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a file that only its owner can read, or empties the existing one.
///
/// # Errors
///
/// The operating system does not open it, or does not change its mode.
pub(in crate::cli) fn create_private(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// Creates a file that only its owner can read, or appends to the existing one.
///
/// # Errors
///
/// As [`create_private`].
#[cfg(feature = "live")]
pub(super) fn append_private(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().append(true).create(true))
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, PRIVATE);
    let file = options.open(path)?;
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        // `open` applies the mode to new files only.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(PRIVATE);
        file.set_permissions(mode)?;
    }
    Ok(file)
}

/// Read and write for the owner, nothing for others.
#[cfg(unix)]
const PRIVATE: u32 = 0o600;
