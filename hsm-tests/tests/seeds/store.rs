//! Inputs for properties, by property and name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hardkey::protocol::constraint::Subject;
use hardkey::protocol::private_key::{PrivateKey, Secret};
use hardkey::protocol::request::{Request, Sign};
use hardkey::protocol::wire::Reader;
use hsm_tests::Body;

use crate::recorder::Conversation;

/// Inputs that were collected, each once.
pub(crate) struct Store {
    inputs: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { inputs: properties::ALL.iter().map(|(name, _)| (*name, BTreeMap::new())).collect() }
    }

    /// Keeps an input, under a name that tells people what it is.
    pub(crate) fn put(&mut self, property: &'static str, name: &str, input: impl Into<Vec<u8>>) {
        let inputs = self.inputs.get_mut(property).unwrap_or_else(|| panic!("no property {property}"));
        let input = input.into();
        if !inputs.values().any(|known| *known == input) {
            let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
            inputs.insert(format!("{:03}-{}", inputs.len(), name.replace(|c| plain(c) == '-', "-")), input);
        }
    }

    /// Takes apart what a client said on one connection, and keeps the parts where they belong.
    pub(crate) fn conversation(&mut self, name: &str, conversation: &Conversation) {
        let mut stream = Vec::new();
        let (mut constraints, mut key, mut data, mut binds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for request in &conversation.requests {
            stream.extend(Body::new(0).string(request).bytes().split_off(1));
            self.put("requests", name, request.as_slice());
            match Request::parse(request) {
                Ok(Request::Sign(Sign { key: blob, data: octets, .. })) => {
                    self.put("payload", name, octets);
                    self.put("public_key", name, blob);
                    (key, data) = (blob.to_vec(), octets.to_vec());
                }
                Ok(Request::Add(add)) => {
                    self.put("public_key", name, &add.key.public.blob()[..]);
                    let mut reader = Reader::new(&request[1..]);
                    let read = PrivateKey::read(&mut reader).expect("a key that was read before");
                    let subject = match read.secret {
                        Secret::SecurityKey { .. } => Subject::SecurityKey,
                        _ => Subject::Software,
                    };
                    reader.string().expect("a comment");
                    self.constraints(name, subject, reader.rest());
                    key = add.key.public.blob().to_vec();
                    constraints = destination(reader.rest()).unwrap_or(constraints);
                }
                Ok(Request::AddProvider(_)) => {
                    let mut reader = Reader::new(&request[1..]);
                    let (_provider, _pin) = (reader.string().expect("read before"), reader.string());
                    self.constraints(name, Subject::Provider, reader.rest());
                }
                Ok(Request::SessionBind(Ok(bind))) => {
                    self.put("public_key", name, bind.host_key);
                    let mut reader = Reader::new(&request[1..]);
                    reader.string().expect("the extension's name");
                    binds.push(reader.rest().to_vec());
                }
                _ => {}
            }
        }
        let mut frames = vec![0xff, 0xff, 3, 1, 7, 200];
        frames.extend(stream);
        self.put("frames", name, frames);
        if !binds.is_empty() || !constraints.is_empty() {
            let mut body = Body::new(0).string(&constraints).string(&key).string(&data);
            for bind in &binds {
                body = body.string(bind);
            }
            self.put("session_bind", name, body.bytes().split_off(1));
        }
        if !binds.is_empty() {
            let passing: Vec<_> = binds.iter().map(|bind| passing(bind)).collect();
            for (title, path) in
                [("passes", passing.clone()), ("passes twice", [passing.clone(), passing.clone()].concat())]
            {
                let start = Body::new(0).string(&constraints).string(&key).string(&data);
                let body = path.iter().fold(start, |body, bind| body.string(bind));
                self.put("session_bind", &format!("{name}, {title}"), body.bytes().split_off(1));
            }
        }
    }

    /// Holds every property against its inputs.
    pub(crate) fn check(&self) {
        for (name, check) in properties::ALL {
            for input in self.inputs[name].values() {
                check(input);
            }
        }
    }

    /// Makes a directory for each property that has these inputs, and beside them only those that a fuzz target once failed with.
    pub(crate) fn write(&self, directory: &Path) {
        for (property, inputs) in &self.inputs {
            let directory = directory.join(property);
            fs::create_dir_all(&directory).expect("a directory for seeds");
            for entry in fs::read_dir(&directory).expect("a directory for seeds") {
                let path = entry.expect("an entry of the directory").path();
                if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("found-")) {
                    fs::remove_file(&path).expect("remove an old seed");
                }
            }
            for (name, input) in inputs {
                fs::write(directory.join(name), input).expect("write a seed");
            }
        }
    }

    fn constraints(&mut self, name: &str, subject: Subject, octets: &[u8]) {
        let number = match subject {
            Subject::Software => 0,
            Subject::SecurityKey => 1,
            Subject::Provider => 2,
        };
        self.put("constraints", name, [&[number], octets].concat());
    }
}

/// A bind with the signature that passes for everybody's: what a program without the host's key can go on from.
fn passing(bind: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(bind);
    let [host_key, session_id, _signature] = [(); 3].map(|()| reader.string().expect("read before"));
    let body = Body::new(0).string(host_key).string(session_id).string(properties::session_bind::PASSES);
    body.raw(reader.rest()).bytes().split_off(1)
}

/// The payload of the destination constraint among constraints, which `ssh-add` puts last.
pub(crate) fn destination(constraints: &[u8]) -> Option<Vec<u8>> {
    let name = b"restrict-destination-v00@openssh.com";
    let at = constraints.windows(name.len()).position(|window| window == name)?;
    Some(constraints[at + name.len()..].to_vec())
}
