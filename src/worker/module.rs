//! A loaded module: its tokens, one session with each, and the handles of keys that were used.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::{Slot, SlotInfo, TokenInfo};

use super::keys::Scan;
use super::login::{check_tries, log_in_anew, refused, tries};
use super::raw::RawModule;
use super::signing::Known;
use super::{fault, keys, pcscd};
use crate::ipc::{Answer, FaultKind, KeyName, ModuleFault, SecretOctets, TokenName, TokenSeen};

/// A module that is loaded and initialised, for the life of this process.
pub(super) struct Module {
    // Before `context`, so that sessions close before the library does.
    pub(super) sessions: HashMap<TokenName, Open>,
    pub(super) context: Pkcs11,
    /// None where `cryptoki` has the module to itself.
    pub(super) raw: Option<RawModule>,
    /// The slots that held a token at the last look.
    occupied: Vec<Slot>,
}

/// The session with a token. Closing it would log out, so it stays open.
pub(super) struct Open {
    pub(super) slot: Slot,
    pub(super) session: Session,
    pub(super) logged_in: bool,
    /// The keys that have signed.
    pub(super) known: HashMap<KeyName, Known>,
}

impl Module {
    /// Loads and initialises the module at `path`.
    ///
    /// Without locking flags: one thread calls, and OpenSC deadlocks against itself when told to lock.
    pub(super) fn load(path: &Path) -> Result<Self, ModuleFault> {
        let context = Pkcs11::new(path).map_err(|error| fault::new(FaultKind::NotAModule, why_not(path, &error)))?;
        let raw = RawModule::load(path).map_err(|text| fault::new(FaultKind::NotAModule, text))?;
        let initialize = |flags| context.initialize(CInitializeArgs::new(flags));
        match initialize(CInitializeFlags::empty()) {
            // p11-kit's client: it takes arguments without a way to lock for a wish that it cannot fulfil.
            Err(Error::Pkcs11(RvError::CantLock, _)) => initialize(CInitializeFlags::OS_LOCKING_OK),
            result => result,
        }
        .map_err(fault::of)?;
        let raw = Some(raw).filter(RawModule::is_initialized);
        Ok(Self { sessions: HashMap::new(), context, raw, occupied: Vec::new() })
    }

    /// All tokens that are there, with the keys that show.
    pub(super) fn scan(&mut self) -> Result<Answer, ModuleFault> {
        let mut tokens: Vec<TokenSeen> = Vec::new();
        self.occupied = self.context.get_slots_with_token().map_err(fault::of)?;
        self.sessions.retain(|_, open| is_there(&open.session));
        for slot in self.occupied.clone() {
            // A token that went away between two calls, or is not initialised, is simply not there.
            let info = self.context.get_token_info(slot).map_err(fault::of);
            if let Ok(info) = &info
                && let Some(twin) = tokens.iter_mut().find(|token| token.name == name(info))
            {
                twin.twins += 1;
                continue;
            }
            match info
                .and_then(|info| if info.token_initialized() { self.look(slot, &info).map(Some) } else { Ok(None) })
            {
                Ok(token) => tokens.extend(token),
                // The next glance will want another look at it.
                Err(_) => self.occupied.retain(|other| *other != slot),
            }
        }
        self.sessions.retain(|name, _| tokens.iter().any(|token| token.name == *name));
        let all = self.context.get_all_slots().map_err(fault::of)?;
        let is_removable = |slot: &Slot| self.context.get_slot_info(*slot).is_ok_and(|info| info.removable_device());
        Ok(Answer::Tokens { tokens, sees_insertions: all.iter().any(is_removable), pcscd: pcscd::is_used() })
    }

    /// Whether the tokens may be others than at the last scan.
    ///
    /// `C_GetSlotList` is where modules look at their readers, some of them only there. A card that was exchanged since leaves the slots as
    /// they were, but no session outlives it.
    pub(super) fn glance(&self) -> Result<bool, ModuleFault> {
        let occupied = self.context.get_slots_with_token().map_err(fault::of)?;
        let is_lost = |open: &Open| !is_there(&open.session);
        Ok(occupied != self.occupied || self.sessions.values().any(is_lost))
    }

    /// Logs in, after a look at which token is in the slot and how many tries it has.
    pub(super) fn login(
        &mut self,
        token: &TokenName,
        pin: Option<SecretOctets>,
        even_final_try: bool,
    ) -> Result<TokenSeen, ModuleFault> {
        let (slot, info) = find(&self.context, token)?;
        // Whether a PIN was ever set is for the token to say: some modules do not know the flag for that.
        check_tries(&info, even_final_try)?;
        if self.sessions.get(token).is_some_and(|open| open.slot != slot) {
            // The token moved to another slot; the old session may be with whatever is in the old one now.
            self.sessions.remove(token);
        }
        let open = open(&self.context, &mut self.sessions, token)?;
        if open.logged_in {
            // A token that is logged in would take any PIN for right.
            let _ = open.session.logout();
            open.logged_in = false;
        }
        open.known.clear();
        if let Err(error) = log_in_anew(&open.session, pin) {
            let refused = refused(&self.context, slot, token, error);
            return Err(self.failed(token, refused));
        }
        open.logged_in = true;
        self.look(slot, &info)
    }

    /// Logs out and closes the session.
    pub(super) fn logout(&mut self, token: &TokenName) -> Result<(), ModuleFault> {
        match self.sessions.remove(token) {
            Some(open) => open.session.logout().map_err(fault::of),
            None => Ok(()),
        }
    }

    /// Forgets what a failure made worthless, so that the next call starts afresh.
    pub(super) fn failed(&mut self, token: &TokenName, fault: ModuleFault) -> ModuleFault {
        match fault.kind {
            FaultKind::SessionLost | FaultKind::TokenGone | FaultKind::Other => drop(self.sessions.remove(token)),
            FaultKind::NotLoggedIn => {
                if let Some(open) = self.sessions.get_mut(token) {
                    open.logged_in = false;
                    open.known.clear();
                }
            }
            _ => {}
        }
        fault
    }

    fn look(&mut self, slot: Slot, info: &TokenInfo) -> Result<TokenSeen, ModuleFault> {
        let token = name(info);
        let slot_info = self.context.get_slot_info(slot).map_err(fault::of)?;
        if self.sessions.get(&token).is_some_and(|open| open.slot != slot) {
            self.sessions.remove(&token);
        }
        let open = open(&self.context, &mut self.sessions, &token)?;
        if open.logged_in && !still_logged_in(&open.session) {
            open.logged_in = false;
            open.known.clear();
        }
        let private_visible = open.logged_in || !info.login_required();
        let found = keys::scan(&open.session, private_visible)?;
        Ok(seen(slot, info, &slot_info, open.logged_in, found))
    }
}

/// Why a module does not load, without the path, which is named beside it.
fn why_not(path: &Path, error: &Error) -> String {
    match error {
        Error::LibraryLoading(error) => error.to_string().replace(&format!("{}: ", path.display()), ""),
        other => other.to_string(),
    }
}

/// The session with a token, opened if need be.
pub(super) fn open<'a>(
    context: &Pkcs11,
    sessions: &'a mut HashMap<TokenName, Open>,
    token: &TokenName,
) -> Result<&'a mut Open, ModuleFault> {
    match sessions.entry(token.clone()) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => {
            let (slot, _) = find(context, token)?;
            let session = context.open_ro_session(slot).map_err(fault::of)?;
            Ok(entry.insert(Open { slot, session, logged_in: false, known: HashMap::new() }))
        }
    }
}

fn slots(context: &Pkcs11) -> Result<Vec<(Slot, TokenInfo)>, ModuleFault> {
    let slots = context.get_slots_with_token().map_err(fault::of)?;
    Ok(slots.into_iter().filter_map(|slot| Some((slot, context.get_token_info(slot).ok()?))).collect())
}

fn find(context: &Pkcs11, token: &TokenName) -> Result<(Slot, TokenInfo), ModuleFault> {
    slots(context)?
        .into_iter()
        .find(|(_, info)| name(info) == *token)
        .ok_or_else(|| fault::new(FaultKind::TokenGone, "the token is not there"))
}

/// Whether a session is still there. One that cannot tell is.
fn is_there(session: &Session) -> bool {
    matches!(session.get_session_info(), Ok(_) | Err(Error::Pkcs11(RvError::FunctionNotSupported, _)))
}

/// Another program may have reset the token; some modules then only hide the private keys. Whoever cannot tell is believed to be in.
pub(super) fn still_logged_in(session: &Session) -> bool {
    let state = session.get_session_info().map(|info| info.session_state());
    !matches!(state, Ok(SessionState::RoPublic | SessionState::RwPublic))
}

/// What slot and token say of themselves, with the keys that were found.
pub(super) fn seen(slot: Slot, info: &TokenInfo, slot_info: &SlotInfo, logged_in: bool, found: Scan) -> TokenSeen {
    TokenSeen {
        name: name(info),
        slot: slot.id(),
        reader: trimmed(slot_info.slot_description()),
        login_required: info.login_required(),
        protected_path: info.protected_authentication_path(),
        pin_initialized: info.user_pin_initialized(),
        tries: tries(info),
        device: slot_info.removable_device() || slot_info.hardware_slot(),
        logged_in,
        keys: found.keys,
        left_out: found.left_out,
        twins: 0,
    }
}

/// Text as modules have it, without its padding: blanks, or what happens to be behind the zero that ends texts in C.
fn trimmed(text: &str) -> String {
    let text = text.split('\0').next().unwrap_or_default();
    text.trim_end_matches(' ').to_owned()
}

pub(super) fn name(info: &TokenInfo) -> TokenName {
    TokenName {
        manufacturer: trimmed(info.manufacturer_id()),
        model: trimmed(info.model()),
        serial: trimmed(info.serial_number()),
        label: trimmed(info.label()),
    }
}
