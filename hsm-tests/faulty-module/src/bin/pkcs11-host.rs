//! A program that uses a PKCS#11 module through the `cryptoki` crate, told by its standard input what to do.
//!
//! It is what the tests of the faulty module run: a fault may hang or kill the program that has loaded the module, and
//! some faults tell only when one process lives through a change of the rules. It answers every line with one line:
//! `ok …`, or `error NAME` with the return value's name in the `cryptoki` crate.

#![allow(clippy::print_stdout, reason = "standard output is how it answers")]

use std::error::Error;
use std::io::{self, BufRead};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::RvError;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, CertificateType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

type Answer = Result<String, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let module = std::env::args_os().nth(1).ok_or("the path of a module is missing")?;
    let mut host = Host { pkcs11: Pkcs11::new(module)?, session: None, keys: None };
    for line in io::stdin().lock().lines() {
        match host.obey(&line?) {
            Ok(answer) => println!("ok {answer}"),
            Err(error) => println!("error {}", name_of(&*error)),
        }
    }
    Ok(())
}

struct Host {
    pkcs11: Pkcs11,
    session: Option<Session>,
    /// The handles of a P-256 key pair, kept as long as the session.
    keys: Option<(ObjectHandle, ObjectHandle)>,
}

impl Host {
    fn obey(&mut self, line: &str) -> Answer {
        let (order, argument) = line.split_once(' ').unwrap_or((line, ""));
        match order {
            "initialize" => {
                let initialize = |flags| self.pkcs11.initialize(CInitializeArgs::new(flags));
                match initialize(CInitializeFlags::empty()) {
                    Err(cryptoki::error::Error::Pkcs11(RvError::CantLock, _)) => {
                        initialize(CInitializeFlags::OS_LOCKING_OK)?;
                    }
                    result => result?,
                }
            }
            "finalize" => {
                // Dropped later it would close a session of the next initialisation that has the same number.
                self.session = None;
                self.pkcs11.clone().finalize()?;
            }
            "slots" => return Ok(self.pkcs11.get_slots_with_token()?.len().to_string()),
            "slot" => return self.describe_slot(),
            "event" => return Ok(self.pkcs11.get_slot_event()?.map_or("none", |_| "some").to_owned()),
            "token" => return self.describe_token(),
            "mechanisms" => return self.mechanisms(),
            "open" => {
                self.keys = None;
                self.session = Some(self.pkcs11.open_rw_session(self.slot()?)?);
            }
            "login" => self.session()?.login(UserType::User, Some(&AuthPin::from(argument.to_owned())))?,
            "login-at-pad" => self.session()?.login(UserType::User, None)?,
            "find" => return Ok(self.find(argument)?.len().to_string()),
            "can-sign" => return self.can_sign(),
            "sign" => return self.sign(),
            "write" => self.write(argument)?,
            "memory" => return memory_kb().map(|kb| kb.to_string()),
            other => return Err(format!("unknown order {other}").into()),
        }
        Ok(String::new())
    }

    /// The slot of the test's token: SoftHSM shows it first and an empty one after it.
    fn slot(&self) -> Result<Slot, Box<dyn Error>> {
        Ok(*self.pkcs11.get_all_slots()?.first().ok_or("no slot")?)
    }

    fn session(&self) -> Result<&Session, Box<dyn Error>> {
        Ok(self.session.as_ref().ok_or("no session")?)
    }

    fn describe_slot(&self) -> Answer {
        let info = self.pkcs11.get_slot_info(self.slot()?)?;
        Ok(set(&[
            ("present", info.token_present()),
            ("removable", info.removable_device()),
            ("hardware", info.hardware_slot()),
        ]))
    }

    fn describe_token(&self) -> Answer {
        let info = self.pkcs11.get_token_info(self.slot()?)?;
        let flags = set(&[
            ("pad", info.protected_authentication_path()),
            ("count-low", info.user_pin_count_low()),
            ("final-try", info.user_pin_final_try()),
            ("locked", info.user_pin_locked()),
        ]);
        Ok(format!("{}/{}/{flags}", info.label(), info.serial_number()))
    }

    fn mechanisms(&self) -> Answer {
        let mechanisms = self.pkcs11.get_mechanism_list(self.slot()?)?;
        let names = mechanisms.iter().map(MechanismType::to_string);
        Ok(names.collect::<Vec<_>>().join(" "))
    }

    fn find(&self, what: &str) -> Result<Vec<ObjectHandle>, Box<dyn Error>> {
        let template = match what {
            "public" => vec![Attribute::Class(ObjectClass::PUBLIC_KEY)],
            "private" => vec![Attribute::Class(ObjectClass::PRIVATE_KEY)],
            "certificate" => vec![Attribute::Class(ObjectClass::CERTIFICATE)],
            "signing" => vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Sign(true)],
            "always-authenticate" => {
                vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::AlwaysAuthenticate(true)]
            }
            "not-signing" => vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Sign(false)],
            _ => vec![],
        };
        Ok(self.session()?.find_objects(&template)?)
    }

    fn can_sign(&self) -> Answer {
        let key = *self.find("private")?.first().ok_or("no key")?;
        match self.session()?.get_attributes(key, &[AttributeType::Sign])?.first() {
            Some(Attribute::Sign(can)) => Ok(can.to_string()),
            _ => Err("no such attribute".into()),
        }
    }

    /// Writes an object to the token.
    fn write(&self, what: &str) -> Result<(), Box<dyn Error>> {
        let mut words = what.split(' ');
        let mut template = of_class(words.next().unwrap_or_default())?;
        for word in words {
            template.push(attribute(word)?);
        }
        self.session()?.create_object(&template)?;
        Ok(())
    }

    /// Signs with P-256 and tells the signature's length and whether the token itself takes it for good.
    fn sign(&mut self) -> Answer {
        let (private, public) = match self.keys {
            Some(keys) => keys,
            None => {
                let (private, public) = (self.find("private")?, self.find("public")?);
                *self.keys.insert((*private.first().ok_or("no private key")?, *public.first().ok_or("no public key")?))
            }
        };
        let digest = [7; 32];
        let signature = self.session()?.sign(&Mechanism::Ecdsa, private, &digest)?;
        let good = self.session()?.verify(&Mechanism::Ecdsa, public, &digest, &signature).is_ok();
        Ok(format!("{} {}", signature.len(), if good { "good" } else { "bad" }))
    }
}

/// The attributes of an object of this class and of none in particular.
fn of_class(class: &str) -> Result<Vec<Attribute>, Box<dyn Error>> {
    let mut attributes = vec![Attribute::Token(true), Attribute::Private(class == "private")];
    attributes.extend(match class {
        "public" => {
            vec![Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(KeyType::EC), Attribute::Verify(true)]
        }
        "private" => vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
        ],
        // A private key that shows, and signs, without a login.
        "open" => vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
        ],
        "certificate" => {
            vec![Attribute::Class(ObjectClass::CERTIFICATE), Attribute::CertificateType(CertificateType::X_509)]
        }
        other => return Err(format!("unknown class {other}").into()),
    });
    Ok(attributes)
}

/// `name=value`, the value in hexadecimal digits.
fn attribute(word: &str) -> Result<Attribute, Box<dyn Error>> {
    let (name, digits) = word.split_once('=').ok_or("an attribute is name=value")?;
    let value = faulty_module::octets(digits).ok_or("a value is in hexadecimal digits")?;
    Ok(match name {
        "id" => Attribute::Id(value),
        "label" => Attribute::Label(value),
        "parameters" => Attribute::EcParams(value),
        "point" => Attribute::EcPoint(value),
        "subject" => Attribute::Subject(value),
        "value" => Attribute::Value(value),
        other => return Err(format!("unknown attribute {other}").into()),
    })
}

fn set(flags: &[(&str, bool)]) -> String {
    let on = flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name);
    on.collect::<Vec<_>>().join(",")
}

fn memory_kb() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn name_of(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(cryptoki::error::Error::Pkcs11(value, _)) => format!("{value:?}"),
        _ => error.to_string(),
    }
}
