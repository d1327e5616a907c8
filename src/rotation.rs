//! Which keys are in use, which are to come, and which are to go (`hardkey rotate`), kept in a file of the user's state; and their public halves
//! in files that ssh_config can name.
//!
//! A key that nobody said anything about is in use. Keys are known by their public halves, certificates by the key in them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};

use crate::crypto::fingerprint::FingerprintHash;
use crate::paths;
use crate::protocol::public_key::PublicKey;
use crate::state_file;

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is in use.
    Active,
    /// It is offered after those in use, while servers are prepared for it.
    Next,
    /// It is offered to nobody but an `ssh` whose configuration or command line names its file.
    Retired,
}

impl State {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Retired => "retired",
        }
    }
}

/// A key and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotating {
    /// The name that its files have. One key of a name is active at most, and one is next.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its public half as a line of `authorized_keys`.
    pub public_key: String,
}

impl Rotating {
    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let public = blob_of(&self.public_key).and_then(|blob| PublicKey::from_blob(&blob).ok());
        public.map(|public| FingerprintHash::Sha256.of(&public)).unwrap_or_default()
    }

    /// The comment.
    pub fn comment(&self) -> &str {
        self.public_key.splitn(3, ' ').nth(2).unwrap_or_default()
    }
}

/// The keys that something was said about, those that were changed last at the end.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Rotation {
    keys: Vec<Rotating>,
    /// The files that were written, by their names.
    exported: Vec<String>,
}

/// Why a key cannot have a state.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CannotRotate {
    /// The name does not make a file's.
    #[error("{0:?} cannot be the name of a file; use letters, digits, and . _ @ -, and do not begin with a dot")]
    Name(String),
    /// Two keys cannot be next.
    #[error(
        "{name} has a next key already, {fingerprint}; `hardkey rotate forget` it first, or give the new one another --name"
    )]
    SecondNext {
        /// The name.
        name: String,
        /// The key that is next.
        fingerprint: String,
    },
}

impl Rotation {
    /// The usual file; `None` without a home.
    pub fn file() -> Option<PathBuf> {
        Some(paths::state_home()?.join("hardkey/rotation.json"))
    }

    /// The folder of the exported files; `None` without a home.
    pub fn folder() -> Option<PathBuf> {
        Some(paths::home()?.join(".ssh/hardkey"))
    }

    /// Reads the file; a missing one has nothing.
    ///
    /// # Errors
    /// It cannot be read, others may write it, or it is not what this program wrote.
    pub fn read(file: &Path) -> io::Result<Self> {
        state_file::read(file)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        state_file::write(file, self)
    }

    /// The keys that something was said about.
    pub fn keys(&self) -> &[Rotating] {
        &self.keys
    }

    /// The state of a key, by its line of `authorized_keys`.
    pub fn find(&self, public_key: &str) -> Option<&Rotating> {
        let blob = blob_of(public_key)?;
        self.keys.iter().find(|key| blob_of(&key.public_key).as_ref() == Some(&blob))
    }

    /// Gives a key a state. A key of that name that was active until now retires; it is returned.
    ///
    /// # Errors
    /// The name is no name, or another key of it is next.
    pub fn set(&mut self, name: &str, public_key: &str, state: State) -> Result<Option<Rotating>, CannotRotate> {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "._@-".contains(character);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(CannotRotate::Name(name.to_owned()));
        }
        let mut keys = self.keys.clone();
        keys.retain(|key| blob_of(&key.public_key) != blob_of(public_key));
        let same = keys.iter().position(|key| key.name == name && key.state == state);
        let mut retired = None;
        match (state, same) {
            (State::Next, Some(at)) => {
                return Err(CannotRotate::SecondNext { name: name.to_owned(), fingerprint: keys[at].fingerprint() });
            }
            (State::Active, Some(at)) => {
                let before = Rotating { state: State::Retired, ..keys.remove(at) };
                retired = Some(before.clone());
                keys.push(before);
            }
            _ => {}
        }
        keys.push(Rotating { name: name.to_owned(), state, public_key: public_key.to_owned() });
        self.keys = keys;
        Ok(retired)
    }

    /// Forgets what was said about a key; whether there was something.
    pub fn forget(&mut self, public_key: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| blob_of(&key.public_key) != blob_of(public_key));
        self.keys.len() < before
    }

    /// The names of the exported files, with their keys: `NAME.pub`, `NAME-next.pub`, and `NAME-retired.pub` for the one that retired last;
    /// earlier ones get numbers.
    pub fn files(&self) -> Vec<(String, &Rotating)> {
        let mut files: Vec<(String, &Rotating)> = Vec::new();
        for key in self.keys.iter().rev() {
            let name = match key.state {
                State::Active => format!("{}.pub", key.name),
                State::Next => format!("{}-next.pub", key.name),
                State::Retired => {
                    let same =
                        |(_, other): &&(String, &Rotating)| other.state == State::Retired && other.name == key.name;
                    match files.iter().filter(same).count() {
                        0 => format!("{}-retired.pub", key.name),
                        later => format!("{}-retired-{}.pub", key.name, later + 1),
                    }
                }
            };
            files.push((name, key));
        }
        files
    }

    /// Writes the files into a folder and removes those of before that are not needed any longer. Files that it did not write are left alone.
    ///
    /// # Errors
    /// A file cannot be written, or one that it did not write is in its place.
    pub fn export(&mut self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let files: Vec<(String, String)> =
            self.files().into_iter().map(|(name, key)| (name, format!("{}\n", key.public_key))).collect();
        let foreign = files.iter().find(|(name, content)| {
            let is_same = || fs::read(folder.join(name)).is_ok_and(|found| found == content.as_bytes());
            !self.exported.contains(name) && folder.join(name).exists() && !is_same()
        });
        if let Some((name, _)) = foreign {
            let text = format!("{} is there and is not hardkey's; move it away", folder.join(name).display());
            return Err(io::Error::other(text));
        }
        for (name, content) in &files {
            state_file::replace(&folder.join(name), content.as_bytes(), 0o644)?;
        }
        for old in self.exported.iter().filter(|old| files.iter().all(|(name, _)| name != *old)) {
            match fs::remove_file(folder.join(old)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.exported = files.into_iter().map(|(name, _)| name).collect();
        Ok(())
    }
}

/// The blobs of the keys that are not simply in use, for a list.
#[derive(Debug, Default)]
pub struct States {
    next: HashSet<Vec<u8>>,
    retired: HashSet<Vec<u8>>,
}

impl States {
    /// Those of a rotation.
    pub fn of(rotation: &Rotation) -> Self {
        let with = |state: State| {
            let keys = rotation.keys.iter().filter(|key| key.state == state);
            keys.filter_map(|key| blob_of(&key.public_key)).collect()
        };
        Self { next: with(State::Next), retired: with(State::Retired) }
    }

    /// Whether a list may be as if there were none.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty() && self.retired.is_empty()
    }

    /// Whether the key is to be offered after the others.
    pub fn is_next(&self, key: &PublicKey) -> bool {
        !self.next.is_empty() && self.next.contains(&plain(key))
    }

    /// Whether the key is to be left out of a list, for somebody who names these keys.
    pub fn hides(&self, key: &PublicKey, named: &[Vec<u8>]) -> bool {
        if self.retired.is_empty() {
            return false;
        }
        let plain = plain(key);
        self.retired.contains(&plain) && !named.iter().any(|named| *named == plain || named[..] == key.blob()[..])
    }
}

/// The key itself, without a certificate around it.
fn plain(key: &PublicKey) -> Vec<u8> {
    key.material().to_blob()
}

/// The key of a line of `authorized_keys`, without a certificate around it.
fn blob_of(line: &str) -> Option<Vec<u8>> {
    let blob = Base64::decode_vec(line.split_ascii_whitespace().nth(1)?).ok()?;
    PublicKey::from_blob(&blob).ok().map(|public| plain(&public))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::public_key::KeyMaterial;

    fn line(number: u8) -> String {
        let public = PublicKey::from_material(KeyMaterial::Ed25519 { key: [number; 32] });
        format!("ssh-ed25519 {} key {number}", Base64::encode_string(public.blob()))
    }

    fn files(rotation: &Rotation) -> Vec<(String, String)> {
        let mut files: Vec<_> =
            rotation.files().into_iter().map(|(name, key)| (name, key.comment().to_owned())).collect();
        files.sort();
        files
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, comment)| ((*name).to_owned(), (*comment).to_owned())).collect()
    }

    #[test]
    fn the_next_key_takes_the_place_of_the_active_one() {
        let mut rotation = Rotation::default();
        assert_eq!(rotation.set("work", &line(1), State::Active), Ok(None));
        assert_eq!(rotation.set("work", &line(2), State::Next), Ok(None));
        assert_eq!(files(&rotation), pairs(&[("work-next.pub", "key 2"), ("work.pub", "key 1")]));
        let retired = rotation.set("work", &line(2), State::Active).expect("a change").expect("the one before");
        assert_eq!((retired.comment(), retired.state), ("key 1", State::Retired));
        assert_eq!(files(&rotation), pairs(&[("work-retired.pub", "key 1"), ("work.pub", "key 2")]));
        rotation.set("work", &line(3), State::Active).expect("a change");
        let expected = [("work-retired-2.pub", "key 1"), ("work-retired.pub", "key 2"), ("work.pub", "key 3")];
        assert_eq!(files(&rotation), pairs(&expected));
        assert!(rotation.forget(&line(1)) && !rotation.forget(&line(1)));
        assert_eq!(files(&rotation).len(), 2);
    }

    #[test]
    fn names_do_not_get_into_each_others_way() {
        let mut rotation = Rotation::default();
        rotation.set("work", &line(1), State::Next).expect("a change");
        rotation.set("home", &line(2), State::Next).expect("another name");
        let second = rotation.set("work", &line(3), State::Next);
        assert!(matches!(second, Err(CannotRotate::SecondNext { .. })), "{second:?}");
        for name in ["", "../x", ".x", "a b", "a/b"] {
            assert_eq!(rotation.set(name, &line(3), State::Active), Err(CannotRotate::Name(name.to_owned())));
        }
        assert_eq!(rotation.keys().len(), 2);
    }

    #[test]
    fn exported_files_are_kept_up_to_date_and_other_people_s_left_alone() {
        let folder = std::env::temp_dir().join(format!("hardkey-rotation-{}", std::process::id()));
        let there = || {
            let mut names: Vec<String> = fs::read_dir(&folder)
                .expect("the folder")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let mut rotation = Rotation::default();
        rotation.set("work", &line(1), State::Next).expect("a change");
        rotation.export(&folder).expect("export");
        assert_eq!(there(), ["work-next.pub"]);
        rotation.set("work", &line(1), State::Active).expect("a change");
        rotation.export(&folder).expect("export");
        assert_eq!(there(), ["work.pub"]);
        fs::write(folder.join("home.pub"), "mine").expect("write");
        rotation.set("home", &line(2), State::Active).expect("a change");
        assert!(rotation.export(&folder).is_err());
        assert_eq!(fs::read_to_string(folder.join("home.pub")).expect("read"), "mine");
        fs::remove_dir_all(&folder).expect("tidy up");
    }

    #[test]
    fn a_retired_key_shows_to_those_who_name_it() {
        let mut rotation = Rotation::default();
        rotation.set("work", &line(1), State::Retired).expect("a change");
        let states = States::of(&rotation);
        let key = |number| PublicKey::from_material(KeyMaterial::Ed25519 { key: [number; 32] });
        assert!(states.hides(&key(1), &[]) && !states.hides(&key(2), &[]));
        assert!(!states.hides(&key(1), &[key(1).blob().to_vec()]));
    }
}
