//! Reading a rules file. The grammar is in the crate's documentation.

use std::str::SplitWhitespace;
use std::time::Duration;

use cryptoki_sys::CK_UNAVAILABLE_INFORMATION;
use thiserror::Error;

use super::{Fault, FunctionRule, Pin, PinCount, PinPad, RuleSet, Spoil, Teller};
use crate::{log, names};

/// A line of a rules file that cannot be understood; the fault is its writer's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} of the rules: {problem}")]
pub struct BadRule {
    line: usize,
    problem: String,
}

/// The functions whose results can be spoilt.
const SPOILABLE: [&str; 3] = ["C_Sign", "C_SignFinal", "C_GetAttributeValue"];

impl RuleSet {
    /// Understands a whole file; the first bad line makes the file bad.
    pub(crate) fn parse(text: &str) -> Result<Self, BadRule> {
        let mut rules = Self::default();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                rules.add(line).map_err(|problem| BadRule { line: index + 1, problem })?;
            }
        }
        Ok(rules)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_whitespace();
        let subject = words.next().unwrap_or_default();
        match subject {
            "token" => self.add_token_rule(line, &mut words)?,
            "object" => match next(&mut words, "what is wrong with the objects")? {
                "no-public" => self.objects.no_public = true,
                "no-certificate" => self.objects.no_certificate = true,
                "no-sign" => self.objects.no_sign = true,
                other => return Err(format!("unknown rule for objects '{other}'")),
            },
            "mechanism" => match next(&mut words, "'refuse'")? {
                "refuse" => {
                    let name = next(&mut words, "a mechanism")?;
                    let unknown = || format!("unknown mechanism '{name}'; give its number");
                    self.refused.push(names::mechanism(name).ok_or_else(unknown)?);
                }
                other => return Err(format!("unknown rule for mechanisms '{other}'")),
            },
            "memory" => match next(&mut words, "'grow'")? {
                "grow" => self.leak += size(next(&mut words, "a size")?)?,
                other => return Err(format!("unknown rule for memory '{other}'")),
            },
            _ => self.functions.push(function_rule(line, subject, &mut words)?),
        }
        end(&mut words)
    }

    fn add_token_rule(&mut self, line: &str, words: &mut SplitWhitespace<'_>) -> Result<(), String> {
        let token = &mut self.token;
        match next(words, "what is wrong with the token")? {
            "removed" => token.removed = true,
            "session-lost" => token.session_lost = true,
            "logged-out" => token.logged_out = true,
            "stale" => token.stale = true,
            "removable" => token.removable = true,
            "write-protected" => token.write_protected = true,
            "hardware" => token.hardware = true,
            "no-pin" => token.no_pin = true,
            "pin-count" => {
                let limit = number(next(words, "a number of tries")?)?;
                let silent = optional(words, "silent");
                token.pin_count = Some(PinCount { limit, silent });
            }
            "protected-path" => {
                let pin = Pin(next(words, "the PIN that the user of the pad will enter")?.to_owned());
                let delay =
                    if optional(words, "delay") { duration(next(words, "a duration")?)? } else { Duration::ZERO };
                token.pad = Some(PinPad { pin, delay });
            }
            name @ ("serial" | "label") => {
                // Labels may contain blanks: the value is the rest of the line.
                let value = line.split_once(name).map_or("", |(_, rest)| rest.trim()).to_owned();
                words.by_ref().for_each(drop);
                let field = if name == "serial" { &mut token.serial } else { &mut token.label };
                *field = Some(value);
            }
            other => return Err(format!("unknown rule for tokens '{other}'")),
        }
        Ok(())
    }
}

fn function_rule(text: &str, subject: &str, words: &mut SplitWhitespace<'_>) -> Result<FunctionRule, String> {
    let function = match subject {
        "*" => None,
        name => Some(names::function(name).ok_or_else(|| format!("'{name}' is no function of PKCS#11 2.40"))?),
    };
    let fault = fault(words)?;
    if matches!(fault, Fault::Spoil(_)) && !function.is_some_and(|name| SPOILABLE.contains(&name)) {
        return Err(format!("only the results of {} can be spoilt", SPOILABLE.join(", ")));
    }
    let mut rule = FunctionRule { text: text.to_owned(), function, fault, after: 0, times: None, probability: 1.0 };
    while let Some(qualifier) = words.next() {
        let value = next(words, "a number")?;
        match qualifier {
            "after" => rule.after = number(value)?,
            "times" => rule.times = Some(number(value)?),
            "probability" => rule.probability = number(value)?,
            other => return Err(format!("unknown qualifier '{other}'")),
        }
    }
    Ok(rule)
}

fn fault(words: &mut SplitWhitespace<'_>) -> Result<Fault, String> {
    Ok(match next(words, "a fault")? {
        "delay" => Fault::Delay(duration(next(words, "a duration")?)?),
        "hang" => Fault::Hang,
        "hold" => Fault::Hold,
        "crash" => Fault::Crash,
        "abort" => Fault::Abort,
        "exit" => {
            let code = words.clone().next().and_then(|word| word.parse().ok());
            if code.is_some() {
                words.next();
            }
            Fault::Exit(code.unwrap_or(0))
        }
        "return" => {
            let name = next(words, "a return value")?;
            Fault::Return(names::return_value(name).ok_or_else(|| format!("unknown return value '{name}'"))?)
        }
        "tell" => Fault::Tell {
            socket: next(words, "a socket")?.into(),
            octets: next(words, "what to send")
                .and_then(|text| log::octets(text).ok_or_else(|| format!("'{text}' is not hexadecimal")))?,
            from: match (optional(words, "forked"), optional(words, "orphaned")) {
                (false, false) => Teller::Itself,
                (true, false) => Teller::Forked,
                (_, true) => Teller::Orphaned,
            },
        },
        // A command has blanks and takes the rest of the line.
        "run" => Fault::Run(words.by_ref().collect::<Vec<_>>().join(" ")),
        "leave-child" => Fault::LeaveChild,
        "set" => {
            Fault::Set { name: next(words, "a variable")?.to_owned(), value: next(words, "its value")?.to_owned() }
        }
        "break-out" => {
            Fault::BreakOut { port: number(next(words, "a port")?)?, victim: number(next(words, "a process id")?)? }
        }
        "garbage" => Fault::Spoil(Spoil::Value),
        "length" => Fault::Spoil(match next(words, "a length")? {
            "unavailable" => Spoil::LengthIs(CK_UNAVAILABLE_INFORMATION),
            signed if signed.starts_with(['+', '-']) => Spoil::LengthBy(number(signed)?),
            absolute => Spoil::LengthIs(number(absolute)?),
        }),
        other => return Err(format!("unknown fault '{other}'")),
    })
}

fn next<'a>(words: &mut SplitWhitespace<'a>, wanted: &str) -> Result<&'a str, String> {
    words.next().ok_or_else(|| format!("{wanted} is missing"))
}

fn optional(words: &mut SplitWhitespace<'_>, keyword: &str) -> bool {
    let there = words.clone().next() == Some(keyword);
    if there {
        words.next();
    }
    there
}

/// Surplus words are not shown: they may be part of a PIN.
fn end(words: &mut SplitWhitespace<'_>) -> Result<(), String> {
    words.next().map_or(Ok(()), |_| Err("there is more on the line than the rule takes".to_owned()))
}

fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("'{word}' is not a number that fits here"))
}

fn duration(word: &str) -> Result<Duration, String> {
    let (value, unit) = with_unit(word)?;
    match unit {
        "us" => Ok(Duration::from_micros(value)),
        "ms" => Ok(Duration::from_millis(value)),
        "s" => Ok(Duration::from_secs(value)),
        _ => Err(format!("'{word}' is not a duration; units are us, ms, s")),
    }
}

fn size(word: &str) -> Result<usize, String> {
    let (value, unit) = with_unit(word)?;
    let factor = match unit {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        _ => return Err(format!("'{word}' is not a size; units are B, kB, MB")),
    };
    usize::try_from(value * factor).map_err(|_| format!("'{word}' is too much"))
}

fn with_unit(word: &str) -> Result<(u64, &str), String> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (value, unit) = word.split_at(digits);
    Ok((number(value)?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_rule(line: &str) -> FunctionRule {
        RuleSet::parse(line).unwrap().functions.remove(0)
    }

    fn problem(line: &str) -> String {
        RuleSet::parse(line).unwrap_err().to_string()
    }

    #[test]
    fn faults_take_their_qualifiers() {
        let rule = function_rule("C_Sign return CKR_DEVICE_REMOVED after 3 times 2 probability 0.5");
        assert_eq!(rule.function, Some("C_Sign"));
        assert_eq!(rule.fault, Fault::Return(cryptoki_sys::CKR_DEVICE_REMOVED));
        assert_eq!((rule.after, rule.times, rule.probability), (3, Some(2), 0.5));
        assert_eq!(function_rule("* delay 2s").function, None);
        assert_eq!(function_rule("C_Sign exit times 1").fault, Fault::Exit(0));
        assert_eq!(function_rule("C_Sign exit 3 times 1").fault, Fault::Exit(3));
    }

    #[test]
    fn lengths_are_relative_with_a_sign_and_absolute_without() {
        let length = |line| match function_rule(line).fault {
            Fault::Spoil(spoil) => spoil.claimed(64),
            other => panic!("{other:?}"),
        };
        assert_eq!(length("C_Sign length -1"), 63);
        assert_eq!(length("C_Sign length +4"), 68);
        assert_eq!(length("C_Sign length 0"), 0);
        assert_eq!(length("C_Sign length unavailable"), CK_UNAVAILABLE_INFORMATION);
    }

    #[test]
    fn token_rules_keep_blanks_in_labels_and_hide_pins() {
        let rules = RuleSet::parse("# a card\n\ntoken label My card 2\ntoken protected-path 4711 delay 5ms\n").unwrap();
        assert_eq!(rules.token.label.as_deref(), Some("My card 2"));
        assert_eq!(rules.token.pad.as_ref().unwrap().delay, Duration::from_millis(5));
        assert!(!format!("{rules:?}").contains("4711"));
        assert!(!problem("token protected-path some thing").contains("thing"));
    }

    #[test]
    fn mischief_says_what_and_by_whom() {
        let told = |from| Fault::Tell { socket: "/run/a".into(), octets: vec![0, 255], from };
        assert_eq!(function_rule("C_Sign tell /run/a 00ff times 1").fault, told(Teller::Itself));
        assert_eq!(function_rule("C_Sign tell /run/a 00ff orphaned").fault, told(Teller::Orphaned));
        assert_eq!(function_rule("C_Sign run setsid -f id").fault, Fault::Run("setsid -f id".to_owned()));
        assert_eq!(function_rule("C_Sign break-out 80 1 times 1").fault, Fault::BreakOut { port: 80, victim: 1 });
        assert!(problem("C_Sign tell /run/a 0f0").contains("not hexadecimal"));
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(
            problem("token removed\nC_Sing hang"),
            "line 2 of the rules: 'C_Sing' is no function of PKCS#11 2.40"
        );
        assert!(problem("C_Sign").contains("a fault is missing"));
        assert!(problem("C_Sign delay 3 times 1").contains("not a duration"));
        assert!(problem("C_Login garbage").contains("can be spoilt"));
        assert!(problem("token removed now").contains("more on the line"));
        assert!(problem("C_Sign hang sometimes 3").contains("unknown qualifier"));
    }
}
