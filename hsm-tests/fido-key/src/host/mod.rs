//! Keys by name, and the socket over which a test directs them.

mod mock;
mod order;
mod packets;
mod uhid;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fido_key::{Device, Log, OpenSk, Options};

pub(crate) use mock::{Mock, hold, run_under_umockdev};
use order::{Order, ToKey};
pub(crate) use packets::Packets;
pub(crate) use uhid::Uhid;

/// How long a test that wants to touch a key waits for being asked to.
const ASKED: Duration = Duration::from_secs(20);

/// Where keys can be plugged in.
pub(crate) trait Place: Send {
    /// Makes the key, which has power already, visible, and tells where: `/dev/hidraw0`.
    fn plug(&mut self, name: &str, key: &Device) -> io::Result<PathBuf>;
    /// Takes it away; its power goes afterwards.
    fn unplug(&mut self, name: &str);
    /// What programs need in their environment to see the keys: lines of `NAME=value`.
    fn environment(&self) -> String {
        String::new()
    }
}

/// The keys and their place.
pub(crate) struct Host {
    directory: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    place: Box<dyn Place>,
    directory: PathBuf,
    keys: BTreeMap<String, Device>,
    models: BTreeMap<String, Options>,
}

impl Host {
    /// A host without keys; `directory` is for its socket, `control`, and the logs of the keys, `NAME.log`.
    pub(crate) fn new(place: Box<dyn Place>, directory: PathBuf) -> Self {
        let state = State { place, directory: directory.clone(), keys: BTreeMap::new(), models: BTreeMap::new() };
        Self { directory, state: Arc::new(Mutex::new(state)) }
    }

    /// Serves until the process is ended.
    pub(crate) fn serve(self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let listener = UnixListener::bind(self.directory.join("control"))?;
        for connection in listener.incoming() {
            let (connection, state) = (connection?, self.state.clone());
            thread::spawn(move || converse(connection, &state));
        }
        Ok(())
    }
}

/// Reads orders, one a line, and answers each with `ok TEXT` or `error TEXT`. Answers of several lines end with an empty one.
fn converse(connection: UnixStream, state: &Mutex<State>) {
    let Ok(mut writer) = connection.try_clone() else { return };
    for line in BufReader::new(connection).lines().map_while(Result::ok) {
        let answer = match Order::parse(&line).and_then(|order| obey(order, state)) {
            Ok(text) if text.is_empty() => "ok\n\n".to_owned(),
            Ok(text) => format!("ok {text}\n\n"),
            Err(text) => format!("error {text}\n\n"),
        };
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn obey(order: Order, shared: &Mutex<State>) -> Result<String, String> {
    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
    match order {
        Order::Environment => Ok(state.place.environment()),
        Order::New(name, options) => {
            let file = File::create(state.directory.join(format!("{name}.log"))).map_err(|error| error.to_string())?;
            state.models.insert(name.clone(), options.clone());
            state.keys.insert(name, Device::new(options, Log::to(file)));
            Ok(String::new())
        }
        Order::Copy(name, of) => {
            let known = state.models.get(&of).and_then(|options| options.opensk.as_ref());
            let model = known.ok_or_else(|| format!("no key {of} that could be copied"))?;
            let opensk = Some(OpenSk { memory: model.memory.copy(), ..model.clone() });
            drop(state);
            obey(Order::New(name, Options { opensk, ..Options::default() }), shared)
        }
        Order::Key(name, order) => {
            let key = state.keys.get(&name).ok_or_else(|| format!("no key {name}"))?.clone();
            match order {
                ToKey::Plug if key.is_plugged() => Err(format!("{name} is plugged in already")),
                ToKey::Plug => {
                    key.plug();
                    let node = state.place.plug(&name, &key);
                    node.map(|node| node.display().to_string()).map_err(|error| {
                        key.unplug();
                        format!("plug {name} in: {error}")
                    })
                }
                ToKey::Unplug => {
                    state.place.unplug(&name);
                    key.unplug();
                    Ok(String::new())
                }
                // What takes its time must not stop the others.
                other => {
                    drop(state);
                    direct(&key, other)
                }
            }
        }
    }
}

fn direct(key: &Device, order: ToKey) -> Result<String, String> {
    match order {
        ToKey::Plug | ToKey::Unplug => {}
        ToKey::Presence(presence) => key.button.set_presence(presence),
        ToKey::Patience(patience) => key.button.set_patience(patience),
        ToKey::Press => {
            if !key.button.press(ASKED) {
                return Err("the key does not ask for a touch".into());
            }
        }
        ToKey::Asking => return Ok(if key.button.is_asking() { "yes" } else { "no" }.into()),
        ToKey::Finger(known) => key.button.set_known_finger(known),
        ToKey::Freeze(frozen) => key.freeze(frozen),
        ToKey::Noise(noise) => key.noise(noise),
        ToKey::Busy(busy) => key.busy(busy),
        ToKey::Fault(command, fault, times) => key.faults.add(&command, fault, times),
        ToKey::NoFaults => key.faults.clear(),
        ToKey::Packet(report) => key.inject(vec![report]),
    }
    Ok(String::new())
}
