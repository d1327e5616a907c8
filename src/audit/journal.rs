//! Records for the systemd journal, by its native protocol (systemd, "Native Journal Protocol"): one datagram of fields for each.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::Value;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// By this people find the records: `journalctl MESSAGE_ID=…`.
const MESSAGE_ID: &str = "5c2a1d8e0f6b4b7c9d3e6a41f0b8c7d2";

/// syslog's "notice" and "info".
const NOTICE: u8 = 5;
const INFO: u8 = 6;

/// A way to journald.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// None where journald is not.
    pub(super) fn at(path: impl Into<PathBuf>) -> Option<Self> {
        let path = path.into();
        if !path.exists() {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        // A journald that does not read must not keep the writer.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, path })
    }

    /// Sends one record; `line` is its JSON, `text` the sentence for people.
    pub(super) fn send(&self, line: &str, text: &str, refused: bool) -> io::Result<()> {
        let mut message = Vec::new();
        let priority = if refused { NOTICE } else { INFO };
        put(&mut message, "MESSAGE", text);
        put(&mut message, "PRIORITY", &priority.to_string());
        put(&mut message, "SYSLOG_IDENTIFIER", "hardkey");
        put(&mut message, "MESSAGE_ID", MESSAGE_ID);
        if let Ok(record) = serde_json::from_str(line) {
            flatten(&mut message, "HARDKEY", &record);
        }
        self.socket.send_to(&message, &self.path).map(drop)
    }
}

/// Every field of the record under its path in capitals: `HARDKEY_KEY_FINGERPRINT`. Of a list every element makes a field of the same name.
fn flatten(message: &mut Vec<u8>, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                flatten(message, &format!("{name}_{}", field.to_ascii_uppercase()), value);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| flatten(message, name, element)),
        Value::String(text) => put(message, name, text),
        Value::Null => {}
        other => put(message, name, &other.to_string()),
    }
}

/// A field; one with a line break has its length before it.
fn put(message: &mut Vec<u8>, name: &str, value: &str) {
    message.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        message.push(b'\n');
        message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value.as_bytes());
    message.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_path_as_their_name_and_lists_repeat_it() {
        let mut message = Vec::new();
        let record = serde_json::json!({"v": 1, "key": {"type": "t"}, "via": [{"host": "a"}, {"host": "b"}]});
        flatten(&mut message, "HARDKEY", &record);
        let fields = "HARDKEY_KEY_TYPE=t\nHARDKEY_V=1\nHARDKEY_VIA_HOST=a\nHARDKEY_VIA_HOST=b\n";
        assert_eq!(String::from_utf8(message).expect("text"), fields);
    }

    #[test]
    fn no_value_can_add_a_field() {
        let mut message = Vec::new();
        put(&mut message, "MESSAGE", "a\nPRIORITY=0");
        assert_eq!(message, b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }
}
