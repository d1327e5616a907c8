//! Faults of modules as they may come, the same each time.

const FUNCTIONS: [&str; 11] = [
    "C_Initialize",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_OpenSession",
    "C_GetSessionInfo",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_GetAttributeValue",
    "C_SignInit",
    "C_Sign",
];
const VALUES: [&str; 10] = [
    "GENERAL_ERROR",
    "FUNCTION_FAILED",
    "HOST_MEMORY",
    "DEVICE_ERROR",
    "DEVICE_MEMORY",
    "DEVICE_REMOVED",
    "SESSION_HANDLE_INVALID",
    "TOKEN_NOT_PRESENT",
    "OBJECT_HANDLE_INVALID",
    "OPERATION_ACTIVE",
];
/// Of `C_Login`, whose PIN the token has not judged then.
const OF_LOGINS: [&str; 8] = [
    "return CKR_GENERAL_ERROR",
    "return CKR_FUNCTION_FAILED",
    "return CKR_DEVICE_ERROR",
    "return CKR_SESSION_HANDLE_INVALID",
    "return CKR_TOKEN_NOT_PRESENT",
    "return CKR_USER_ALREADY_LOGGED_IN",
    "crash",
    "hang",
];
const OF_THE_TOKEN: [&str; 4] = ["removed", "session-lost", "logged-out", "stale"];
const OF_SIGNATURES: [&str; 5] = ["garbage", "length -1", "length +4", "length 0", "length unavailable"];

/// Numbers that look random and are not (xorshift64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers; zero is none.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        assert!(seed != 0, "zero stays zero");
        Self(seed)
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// When there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).expect("a small number")).expect("a small number")
    }

    /// A fault of `C_Login` that the token knows nothing of, as a line of the rules of `faulty-module`.
    pub fn login_fault(&mut self) -> String {
        format!("C_Login {} times 1", self.one_of(&OF_LOGINS))
    }

    /// All faults of `C_Login`, each for as long as its rule stands.
    pub fn login_faults() -> impl Iterator<Item = String> {
        OF_LOGINS.into_iter().map(|fault| format!("C_Login {fault}"))
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A fault of a module, as a line of the rules of `faulty-module`: now and then one that ends the worker or hangs it. None of them is a
    /// fault of `C_Login`, after which nobody knows what became of a PIN; for those see [`Self::login_fault`].
    pub fn fault(&mut self) -> String {
        match self.below(100) {
            0..=54 => format!("{} return CKR_{} times 1", self.one_of(&FUNCTIONS), self.one_of(&VALUES)),
            55..=69 => format!("C_Sign {} times 1", self.one_of(&OF_SIGNATURES)),
            70..=81 => format!("token {}", self.one_of(&OF_THE_TOKEN)),
            82..=87 => format!("{} delay 20ms times 3", self.one_of(&FUNCTIONS)),
            88..=98 => format!("{} {} times 1", self.one_of(&FUNCTIONS), self.one_of(&["crash", "abort", "exit 0"])),
            _ => format!("{} hang times 1", self.one_of(&FUNCTIONS)),
        }
    }
}
