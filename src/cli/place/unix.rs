//! Places on systems with `openat`: each step goes from an open directory to the next, so that nothing that is renamed or
//! replaced meanwhile leads elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawMode, Stat, fchmod, fstat, mkdirat, openat, readlinkat,
    renameat, stat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::opened::{FileIdentity, FileMode, OpenedFile, Trusted};

/// A name in a directory that is held open.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Place {
    directory: Arc<OwnedFd>,
    name: OsString,
    users: Users,
    /// An entry of `/proc/PID/fd`: a descriptor of a process, which is no link that anybody made.
    is_descriptor: bool,
}

impl Place {
    /// The place that `path` names. Nothing is made.
    ///
    /// # Errors
    ///
    /// A directory on the way is not there, is no directory, or is a link that is not followed.
    pub(in crate::cli) fn find(path: &Path, trusted: Trusted) -> io::Result<Self> {
        let users = Users::new(trusted);
        match PathWalk::new(path, users)?.run(false)? {
            (Arrival::Name { directory, name, is_descriptor }, _) => {
                Ok(Self { directory: Arc::new(directory), name, users, is_descriptor })
            }
            (Arrival::Directory(_), _) => Err(Errno::ISDIR.into()),
        }
    }

    /// Another name in the same directory.
    pub(in crate::cli) fn beside(&self, name: &OsStr) -> Self {
        Self { name: name.to_owned(), is_descriptor: false, ..self.clone() }
    }

    /// Makes the file, or opens the one that is there and leaves in it what it has.
    ///
    /// # Errors
    ///
    /// The operating system refuses it, or the file may be that of another user.
    pub(in crate::cli) fn open(&self, opening: FileMode) -> io::Result<OpenedFile> {
        let append = if opening.appends { OFlags::APPEND } else { OFlags::empty() };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        if self.is_descriptor {
            // The program that started this one opened it, and emptied it or not.
            let file = openat(&self.directory, &self.name, flags | OFlags::APPEND, Mode::empty())?;
            return Ok(OpenedFile { file: file.into(), is_new: false, is_emptied: false });
        }
        let flags = flags | append | OFlags::NOFOLLOW;
        // Another try where the file came or went between two calls.
        for _ in 0..TRIES {
            let (_, seen) = match look(&self.directory, &self.name) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    let mode = if opening.is_private { PRIVATE } else { USUAL };
                    let make = flags | OFlags::CREATE | OFlags::EXCL;
                    match openat(&self.directory, &self.name, make, Mode::from_raw_mode(mode)) {
                        Ok(file) => {
                            return Ok(OpenedFile {
                                file: file.into(),
                                is_new: true,
                                is_emptied: false,
                            });
                        }
                        Err(Errno::EXIST) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            };
            self.check(&seen, opening.is_private)?;
            let is_file = kind(&seen) == FileType::RegularFile;
            // Opening a pipe waits for its reader. One that takes the place of a file does not.
            let more = if is_file { OFlags::NONBLOCK } else { OFlags::empty() };
            let file = match openat(&self.directory, &self.name, flags | more, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) if is_file => continue,
                Err(error) => return Err(error.into()),
            };
            if identity(&fstat(&file)?) != identity(&seen) {
                continue;
            }
            if is_file && opening.is_private {
                fchmod(&file, Mode::from_raw_mode(PRIVATE))?;
            }
            let is_emptied = is_file && !opening.appends;
            return Ok(OpenedFile { file: file.into(), is_new: false, is_emptied });
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Whether what is there may be written to.
    fn check(&self, seen: &Stat, is_private: bool) -> io::Result<()> {
        let directory = fstat(&self.directory)?;
        let is_ours = self.users.alone_write(&directory);
        let refused =
            |why: &str| Err(refusal(format!("it {why}; remove it, or choose another name")));
        let users = &self.users;
        match kind(seen) {
            FileType::Directory => return Err(Errno::ISDIR.into()),
            FileType::Symlink => return refused("is a symbolic link now"),
            FileType::RegularFile => {
                if seen.st_nlink > 1 && !is_ours {
                    return refused("has a second name, which another user may have made");
                }
                if is_private && !users.has_files_of(seen.st_uid) {
                    return refused(&format!("belongs to user {}, who could read it", seen.st_uid));
                }
            }
            _ => {}
        }
        let is_of_directory = seen.st_uid == directory.st_uid && !is_sticky(&directory);
        if is_ours || users.has_files_of(seen.st_uid) || is_of_directory {
            Ok(())
        } else {
            refused(&format!("belongs to user {}", seen.st_uid))
        }
    }

    /// What is there now, if it is a file.
    pub(in crate::cli) fn identity(&self) -> Option<FileIdentity> {
        let flags = if self.is_descriptor { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        statat(&self.directory, &self.name, flags).ok().map(|seen| identity(&seen))
    }

    /// What must be writable so that the file can be made again: its directory (true), or itself (false) if it is a device
    /// or a pipe.
    ///
    /// # Errors
    ///
    /// The operating system refuses it.
    #[cfg(all(feature = "live", target_os = "linux"))]
    pub(in crate::cli) fn to_make(&self) -> io::Result<(OwnedFd, bool)> {
        let follow = if self.is_descriptor { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
        let there = openat(&self.directory, &self.name, flags, Mode::empty());
        if let Ok(there) = there
            && (self.is_descriptor || kind(&fstat(&there)?) != FileType::RegularFile)
        {
            return Ok((there, false));
        }
        Ok((self.directory.try_clone()?, true))
    }

    /// Bytes of the file that is there; `None` for what is no file.
    #[cfg(feature = "live")]
    pub(in crate::cli) fn file_size(&self) -> Option<u64> {
        let seen = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (kind(&seen) == FileType::RegularFile).then(|| u64::try_from(seen.st_size).unwrap_or(0))
    }

    /// Removes the name, if it is still that of this file.
    pub(in crate::cli) fn remove(&self, file: FileIdentity) {
        if self.identity() == Some(file) {
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// A directory in which files are made.
#[derive(Debug)]
pub(in crate::cli) struct Directory {
    directory: Arc<OwnedFd>,
    users: Users,
    /// The directories that this run made: it, and those above.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "only -Z changes their owner"))]
    made: Vec<OwnedFd>,
}

impl Directory {
    /// Opens the directory, and makes it and those above it where need be, so that only their owner can look into them.
    ///
    /// # Errors
    ///
    /// It is something else, or cannot be made, or a link on the way is not followed.
    pub(in crate::cli) fn open(path: &Path, trusted: Trusted) -> io::Result<Self> {
        let users = Users::new(trusted);
        match PathWalk::new(path, users)?.run(true)? {
            (Arrival::Directory(directory), made) => {
                Ok(Self { directory: Arc::new(directory), users, made })
            }
            (Arrival::Name { .. }, _) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory, for a sandbox in which files are made there.
    ///
    /// # Errors
    ///
    /// The process has too many open files.
    #[cfg(all(feature = "live", target_os = "linux"))]
    pub(in crate::cli) fn to_make(&self) -> io::Result<OwnedFd> {
        self.directory.try_clone()
    }

    /// The directories that this run made.
    #[cfg(feature = "live")]
    pub(in crate::cli) fn made(&self) -> &[OwnedFd] {
        &self.made
    }

    /// Makes a file that only its owner can read; one of that name is removed before.
    ///
    /// # Errors
    ///
    /// The operating system refuses it.
    pub(in crate::cli) fn make_private(&self, name: &str) -> io::Result<File> {
        self.remove(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.directory, name, flags, Mode::from_raw_mode(PRIVATE))?.into())
    }

    /// Opens a file that only its owner can read, and makes it where need be.
    ///
    /// # Errors
    ///
    /// The operating system refuses it, or what is there belongs to another user.
    #[cfg(feature = "nats")]
    pub(in crate::cli) fn open_private(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::from_raw_mode(PRIVATE))?;
        if !self.users.has_files_of(fstat(&file)?.st_uid) {
            return Err(refusal(format!("{name} belongs to another user")));
        }
        Ok(file.into())
    }

    /// Opens a file of this user, to be read.
    ///
    /// # Errors
    ///
    /// The operating system refuses it, or it is no file, or one of another user.
    #[cfg(feature = "nats")]
    pub(in crate::cli) fn read(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.directory, name, flags, Mode::empty())?;
        let seen = fstat(&file)?;
        if kind(&seen) != FileType::RegularFile || !self.users.has_files_of(seen.st_uid) {
            return Err(refusal(format!("{name} is no file of this user")));
        }
        Ok(file.into())
    }

    /// The names in the directory, in any order.
    ///
    /// # Errors
    ///
    /// The operating system refuses it.
    #[cfg(feature = "nats")]
    pub(in crate::cli) fn names(&self) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.directory, ".", flags, Mode::empty())?;
        let entries = rustix::fs::Dir::new(directory)?;
        let name = |entry: Result<rustix::fs::DirEntry, Errno>| {
            Ok(entry?.file_name().to_string_lossy().into_owned())
        };
        let is_other = |name: &io::Result<String>| !matches!(name.as_deref(), Ok("." | ".."));
        entries.map(name).filter(is_other).collect()
    }

    /// Bytes of a file; `None` if there is none.
    #[cfg(feature = "nats")]
    pub(in crate::cli) fn file_size(&self, name: &str) -> Option<u64> {
        let seen = statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (kind(&seen) == FileType::RegularFile).then(|| u64::try_from(seen.st_size).unwrap_or(0))
    }

    /// Whether a file may be made under a name, or take the place of the one that has it: one of this user, and none of
    /// the `kept` ones.
    pub(in crate::cli) fn is_free(&self, name: &str, kept: &[FileIdentity]) -> bool {
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(seen) => {
                kind(&seen) == FileType::RegularFile
                    && self.users.has_files_of(seen.st_uid)
                    && !kept.contains(&identity(&seen))
            }
            Err(error) => error == Errno::NOENT,
        }
    }

    /// Renames a file within the directory.
    ///
    /// # Errors
    ///
    /// The operating system refuses it.
    pub(in crate::cli) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.directory, from, &self.directory, to)?)
    }

    /// Removes a name, if it is there.
    pub(in crate::cli) fn remove(&self, name: &str) {
        let _ = unlinkat(&self.directory, name, AtFlags::empty());
    }
}

/// The users whose links and files are used.
#[derive(Clone, Copy, Debug)]
struct Users {
    /// The one that runs the program.
    own: u32,
    /// The owner of `/`: root, or the user that a container shows in place of root.
    root: u32,
    account: Option<u32>,
}

impl Users {
    fn new(trusted: Trusted) -> Self {
        let root = stat("/").map_or(0, |root| root.st_uid);
        Self { own: geteuid().as_raw(), root, account: trusted.account }
    }

    /// Whether a link of this user is followed.
    const fn has_links_of(&self, user: u32) -> bool {
        user == self.own || user == 0 || user == self.root
    }

    /// Whether packets may go into a file of this user.
    fn has_files_of(&self, user: u32) -> bool {
        self.has_links_of(user) || self.account == Some(user)
    }

    /// Whether no other user can make anything in a directory.
    const fn alone_write(&self, directory: &Stat) -> bool {
        self.has_links_of(directory.st_uid) && directory.st_mode & OTHERS_WRITE == 0
    }
}

/// Where a path ends.
enum Arrival {
    Directory(OwnedFd),
    /// A name that is no directory, or is not there.
    Name {
        directory: OwnedFd,
        name: OsString,
        is_descriptor: bool,
    },
}

/// The way along a path, from one directory to the next.
struct PathWalk {
    directory: OwnedFd,
    /// The directory as text, for messages.
    at: PathBuf,
    /// What is left of the path, the next one last.
    rest: Vec<OsString>,
    users: Users,
    links: u32,
    made: Vec<OwnedFd>,
}

impl PathWalk {
    fn new(path: &Path, users: Users) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        let start = Path::new(if path.is_absolute() { "/" } else { "." });
        let directory = rustix::fs::open(start, DIRECTORY, Mode::empty())?;
        let at = if path.is_absolute() { start.to_owned() } else { PathBuf::new() };
        let mut walk = Self { directory, at, rest: Vec::new(), users, links: 0, made: Vec::new() };
        walk.push(path);
        Ok(walk)
    }

    /// Puts the steps of a path before those that are left.
    fn push(&mut self, path: &Path) {
        // A slash at the end asks for a directory.
        if path.as_os_str().as_bytes().ends_with(b"/") {
            self.rest.push(".".into());
        }
        self.rest.extend(path.components().rev().filter_map(|step| match step {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        }));
    }

    /// Goes to the end of the path. `makes`: makes directories that are not there.
    fn run(mut self, makes: bool) -> io::Result<(Arrival, Vec<OwnedFd>)> {
        while let Some(name) = self.rest.pop() {
            if name == "." {
                continue;
            }
            let is_last = self.rest.is_empty();
            let (found, seen) = match look(&self.directory, &name) {
                Ok(found) => found,
                Err(Errno::NOENT) if makes => {
                    self.make(&name)?;
                    continue;
                }
                Err(Errno::NOENT) if is_last => return Ok(self.arrive(name, false)),
                Err(error) => return Err(error.into()),
            };
            match kind(&seen) {
                FileType::Directory => {
                    self.directory = enter(&self.directory, &name, found)?;
                    self.at.push(name);
                }
                FileType::Symlink if is_of_processes(&self.directory) => {
                    if is_last && !makes {
                        return Ok(self.arrive(name, true));
                    }
                    self.directory = openat(&self.directory, &name, DIRECTORY, Mode::empty())?;
                    self.at.push(name);
                }
                FileType::Symlink => self.follow(&name, found, &seen)?,
                _ if is_last => return Ok(self.arrive(name, false)),
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok((Arrival::Directory(self.directory), self.made))
    }

    fn arrive(self, name: OsString, is_descriptor: bool) -> (Arrival, Vec<OwnedFd>) {
        (Arrival::Name { directory: self.directory, name, is_descriptor }, self.made)
    }

    /// Goes on where a link leads.
    fn follow(&mut self, name: &OsStr, found: Found, seen: &Stat) -> io::Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let directory = fstat(&self.directory)?;
        // A link with a second name may have been moved here.
        let is_known = self.users.has_links_of(seen.st_uid) && seen.st_nlink == 1;
        if !is_known && !self.users.alone_write(&directory) {
            return Err(refusal(format!(
                "{} is a symbolic link of user {}, which is not followed; give the path that it leads to",
                self.at.join(name).display(),
                seen.st_uid
            )));
        }
        let target = PathBuf::from(OsString::from_vec(read_link(&self.directory, name, found)?));
        if target.is_absolute() {
            self.directory = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
            self.at = "/".into();
        }
        self.push(&target);
        Ok(())
    }

    /// Makes a directory, and goes there.
    fn make(&mut self, name: &OsStr) -> io::Result<()> {
        match mkdirat(&self.directory, name, Mode::from_raw_mode(PRIVATE_DIRECTORY)) {
            Ok(()) => {}
            // Another process made it: it is looked at again.
            Err(Errno::EXIST) => {
                self.rest.push(name.to_owned());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.directory, name, flags, Mode::empty())?;
        if fstat(&made)?.st_uid != self.users.own {
            return Err(refusal(format!(
                "{} was replaced meanwhile",
                self.at.join(name).display()
            )));
        }
        self.directory = made.try_clone()?;
        self.at.push(name);
        self.made.push(made);
        Ok(())
    }
}

/// What [`look`] found, open on systems that can open a link itself.
#[cfg(any(target_os = "linux", target_os = "android"))]
type Found = OwnedFd;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
type Found = ();

/// What has a name in a directory. A link is not followed.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn look(directory: &OwnedFd, name: &OsStr) -> Result<(Found, Stat), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(directory, name, flags, Mode::empty())?;
    let seen = fstat(&found)?;
    Ok((found, seen))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn look(directory: &OwnedFd, name: &OsStr) -> Result<(Found, Stat), Errno> {
    Ok(((), statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// The directory that was found.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn enter(_: &OwnedFd, _: &OsStr, found: Found) -> io::Result<OwnedFd> {
    Ok(found)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn enter(directory: &OwnedFd, name: &OsStr, (): Found) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?)
}

/// The path that a link contains.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_link(_: &OwnedFd, _: &OsStr, found: Found) -> io::Result<Vec<u8>> {
    Ok(readlinkat(found, "", Vec::new())?.into_bytes())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read_link(directory: &OwnedFd, name: &OsStr, (): Found) -> io::Result<Vec<u8>> {
    Ok(readlinkat(directory, name, Vec::new())?.into_bytes())
}

/// Whether a directory is one of `/proc`, whose links the kernel makes.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_of_processes(directory: impl AsFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|it| it.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_of_processes(_: impl AsFd) -> bool {
    false
}

fn identity(seen: &Stat) -> FileIdentity {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the types differ between systems"
    )]
    (seen.st_dev as u64, seen.st_ino.into())
}

fn kind(seen: &Stat) -> FileType {
    FileType::from_raw_mode(seen.st_mode)
}

/// Whether all users may make files in a directory, and remove only their own: `/tmp`.
const fn is_sticky(directory: &Stat) -> bool {
    directory.st_mode & STICKY != 0
}

fn refusal(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// How directories on the way are opened: to go on from there.
#[cfg(any(target_os = "linux", target_os = "android"))]
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Read and write for the owner, nothing for others.
const PRIVATE: RawMode = 0o600;
/// Read and write for all, less what the umask takes away.
const USUAL: RawMode = 0o666;
const PRIVATE_DIRECTORY: RawMode = 0o700;
/// Write permission for the group, and for all others.
const OTHERS_WRITE: RawMode = 0o022;
const STICKY: RawMode = 0o1000;

/// As many as Linux follows.
const MOST_LINKS: u32 = 40;

/// How often a file may come or go between two calls before that is an error.
const TRIES: usize = 16;
