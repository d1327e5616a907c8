//! A token that does not answer at once may be waiting for its person: a touch, a PIN on its own pad, a card pushed in further.
//!
//! PKCS#11 has no way to say so, so silence has to do.

use std::time::Duration;

use super::token::Work;
use crate::backend::People;
use crate::field::quoted;
use crate::ipc::TokenName;

/// Tokens that wait for nobody have answered by then, with few exceptions; a notice earlier would flash up at every signature.
const SILENCE: Duration = Duration::from_millis(300);

/// Waits for a signature; while it takes long, people are told which token is waited for, with which key, and what for.
pub(super) async fn broken_by_notice<T>(
    signing: impl Future<Output = T>,
    people: &dyn People,
    token: &TokenName,
    work: &Work,
) -> T {
    tokio::pin!(signing);
    if let Ok(outcome) = tokio::time::timeout(SILENCE, &mut signing).await {
        return outcome;
    }
    let purpose = match work.errand.purpose.as_str() {
        "" => String::new(),
        purpose => format!(", to {purpose}"),
    };
    let text = format!(
        "Waiting for token {}, key {}{purpose}: touch it if it wants to be touched",
        quoted(token.label.as_bytes()),
        quoted(work.label.as_bytes())
    );
    let _notice = people.show(&text, &work.errand);
    signing.await
}
