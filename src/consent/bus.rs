//! Message buses: a connection within a time limit, and the environment of the user's session.

use std::time::Duration;

use zbus::Connection;
use zbus::connection::Builder;

/// A bus or a daemon that takes longer for an answer does not answer.
pub(super) const PROMPTLY: Duration = Duration::from_millis(1500);

/// Whether an address is that of one Unix socket. Others name programs, or machines elsewhere.
pub(super) fn is_address(address: &str) -> bool {
    let Some(options) = address.strip_prefix("unix:") else { return false };
    let mut places = 0;
    let known = options.split(',').all(|option| match option.split_once('=') {
        Some(("path" | "abstract", place)) => {
            places += 1;
            place.starts_with('/')
        }
        Some(("guid", _)) => true,
        _ => false,
    });
    known && places == 1 && !address.contains(';')
}

/// Connects to the bus at an address that [`is_address`] accepts.
///
/// # Errors
/// A text: nobody there, or no answer.
pub(crate) async fn connect(address: &str) -> Result<Connection, String> {
    if !is_address(address) {
        return Err(format!("{address} is not the address of a socket"));
    }
    let connection = Builder::address(address).method_timeout(PROMPTLY).build();
    let connected = tokio::time::timeout(PROMPTLY, connection).await;
    connected.map_err(|_| "the bus does not answer".to_owned())?.map_err(|error| error.to_string())
}

/// The variables that the user's service manager would start a service with now: desktops put their screen there.
pub(super) async fn session_environment(address: &str) -> Vec<(String, String)> {
    let strings = async {
        let connection = connect(address).await?;
        let arguments = ("org.freedesktop.systemd1.Manager", "Environment");
        let reply = connection.call_method(
            Some("org.freedesktop.systemd1"),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &arguments,
        );
        let reply = reply.await.map_err(|error| error.to_string())?;
        let value: zbus::OwnedVariant = reply.body().deserialize().map_err(|error| error.to_string())?;
        Vec::<String>::try_from(value).map_err(|error| error.to_string())
    };
    let strings = strings.await.unwrap_or_else(|error: String| {
        tracing::debug!("the session's environment is not known: {error}");
        Vec::new()
    });
    let split = |string: &String| string.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    strings.iter().filter_map(split).collect()
}
