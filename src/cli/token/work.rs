//! Calls that change a token: they run to their end, and a running agent hears of it.

use super::super::{client, terminal};

/// Waits for work that must not be left half done. Whoever interrupts it twice means it.
pub(super) async fn to_its_end<T>(work: impl Future<Output = T>) -> Result<T, String> {
    tokio::pin!(work);
    let mut is_warned = false;
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            _ = tokio::signal::ctrl_c() => {
                if is_warned {
                    return Err("interrupted; what the token made of it is not known: look with `hardkey token list`".to_owned());
                }
                is_warned = true;
                terminal::say("The token is at work and is waited for. Interrupt once more to leave it in the middle.");
            }
        }
    }
}

/// Has a running agent forget PINs that may be wrong by now, and look at its tokens anew.
pub(super) fn tell_agent() {
    if client::release().is_ok() {
        terminal::say("The running agent has forgotten the PINs of its tokens and looks at them anew.");
    }
}
