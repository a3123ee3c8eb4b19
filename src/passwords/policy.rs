//! Which new passwords are taken.

use ::passwords::analyzer::is_common_password;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::{
    Settings, SettingsError,
    plain::{MAX_CHARS, Password, TooLong},
};

/// The product's name: the first guess after the user's own.
const PRODUCT: &str = "kickout";

/// A unit shorter than this is worth nothing, however often it is repeated.
const MIN_UNIT_CHARS: usize = 8;

/// Shorter names occur by chance, so a password is not held against them.
const MIN_NAME_CHARS: usize = 3;

/// The least length of a run. In two characters nobody intends a sequence.
const MIN_RUN_CHARS: usize = 3;

/// What fingers and memory run along, in either direction and round the end. No character occurs twice in one.
const SEQUENCES: [&str; 10] = [
    "abcdefghijklmnopqrstuvwxyz",
    "1234567890",
    "!@#$%^&*()",
    // Keyboards by rows: English, German, French.
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    // The English keyboard by columns, and in zigzag over two rows.
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
];

/// What a new password must be: long enough, and not among the first guesses. There are no rules of composition; they
/// make passwords worse (NIST SP 800-63B-4 §3.1.1.2).
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    min_chars: usize,
}

/// Why a new password is refused, in words for the user who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Fewer characters than configured.
    #[error("Please choose a password of at least {min} characters. A few unrelated words are long and easy to keep.")]
    TooShort {
        /// The least length, in characters.
        min: usize,
    },
    /// More characters than any password may have.
    #[error("Please choose a password of at most {max} characters.")]
    TooLong {
        /// The greatest length, in characters.
        max: usize,
    },
    /// A common password, a repetition, or a run along the alphabet or the keyboard.
    #[error(
        "This password is one of the first that a stranger would try. Please choose a few unrelated words instead."
    )]
    Common,
    /// Nothing but the username or the product's name, and digits.
    #[error(
        "This password is too much like your username or the name of this service. \
         Please choose a few unrelated words instead."
    )]
    LikeUsername,
}

impl From<TooLong> for Refusal {
    fn from(_: TooLong) -> Self {
        Self::TooLong { max: MAX_CHARS }
    }
}

impl Policy {
    /// The policy with the configured minimum length.
    ///
    /// # Errors
    /// The first of [`Settings::problems`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self { min_chars: settings.min_chars })
    }

    /// Whether a user of this name may choose this password.
    ///
    /// Letter case, and the spaces, hyphens, dots and underscores between words, do not make a guess harder and are
    /// not looked at; they do count towards the length. (The list of common passwords has some entries in mixed case:
    /// those are found as they are written there.)
    ///
    /// # Errors
    /// [`Refusal`]; never [`Refusal::TooLong`], which a [`Password`] cannot be.
    pub fn check(&self, password: &Password, username: &str) -> Result<(), Refusal> {
        let text = password.as_str();
        let len = text.chars().count();
        if len < self.min_chars {
            return Err(Refusal::TooShort { min: self.min_chars });
        }
        let whole = lower(text.chars());
        let joined = lower(text.chars().filter(|char| !is_separator(*char)));
        // Of a password that is mostly separators, the rest says little.
        let forms = if joined.len() * 2 < len { vec![&whole] } else { vec![&whole, &joined] };

        let username = lower(username.nfkc());
        let username_joined = lower(username.iter().copied().filter(|char| !is_separator(*char)));
        let product = lower(PRODUCT.chars());
        let names = [&username, &username_joined, &product].map(|name| name.as_slice());
        if forms.iter().any(|form| is_made_of_names(form, &names)) {
            return Err(Refusal::LikeUsername);
        }
        if is_common_password(text) || forms.iter().any(|form| is_guessable(form)) {
            return Err(Refusal::Common);
        }
        Ok(())
    }
}

fn lower(chars: impl Iterator<Item = char>) -> Zeroizing<Vec<char>> {
    // Room for three lower-case characters each, the most there are, so that the text never moves and leaves no copy.
    let mut lower = Zeroizing::new(Vec::with_capacity(MAX_CHARS * 3));
    lower.extend(chars.flat_map(char::to_lowercase));
    lower
}

fn is_separator(char: char) -> bool {
    char.is_whitespace() || matches!(char, '-' | '_' | '.')
}

fn is_guessable(text: &[char]) -> bool {
    is_listed(text)
        || is_made_of_runs(text)
        || repeated_unit(text).is_some_and(|unit| unit.len() < MIN_UNIT_CHARS || is_listed(unit))
}

fn is_listed(text: &[char]) -> bool {
    let mut word = Zeroizing::new(String::with_capacity(text.len() * 4));
    word.extend(text);
    is_common_password(word.as_str())
}

/// The shortest unit that gives the text when it is repeated, at least twice; the last time may be cut short.
fn repeated_unit(text: &[char]) -> Option<&[char]> {
    (1..=text.len() / 2).find(|len| text[*len..] == text[..text.len() - len]).map(|len| &text[..len])
}

/// Whether names, with nothing but digits and punctuation around them, are all there is.
fn is_made_of_names(text: &[char], names: &[&[char]]) -> bool {
    let mut rest = text;
    let mut has_name = false;
    while let [first, others @ ..] = rest {
        let name =
            names.iter().filter(|name| name.len() >= MIN_NAME_CHARS && rest.starts_with(name)).max_by_key(|n| n.len());
        if let Some(name) = name {
            has_name = true;
            rest = &rest[name.len()..];
        } else if first.is_numeric() || first.is_ascii_punctuation() || first.is_whitespace() {
            rest = others;
        } else {
            return false;
        }
    }
    has_name
}

/// Whether the text is one run along a sequence after another.
fn is_made_of_runs(text: &[char]) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let run = longest_run(rest);
        if run < MIN_RUN_CHARS {
            return false;
        }
        rest = &rest[run..];
    }
    true
}

/// How many characters at the start are the same, or follow each other in a sequence.
fn longest_run(text: &[char]) -> usize {
    let run =
        |follows: &dyn Fn(char, char) -> bool| 1 + text.windows(2).take_while(|pair| follows(pair[0], pair[1])).count();
    let same = run(&|a, b| a == b);
    SEQUENCES.iter().fold(same, |longest, sequence| {
        let next = |a: char, b: char| {
            let after = sequence.chars().chain(sequence.chars().take(1)).skip_while(|char| *char != a).nth(1);
            after == Some(b)
        };
        longest.max(run(&next)).max(run(&|a, b| next(b, a)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(min_chars: usize, text: &str, username: &str) -> Result<(), Refusal> {
        Policy { min_chars }.check(&Password::from_input(text.to_owned())?, username)
    }

    fn check(text: &str) -> Result<(), Refusal> {
        check_with(15, text, "marguerite")
    }

    #[test]
    fn length_is_counted_in_characters_after_normalising() {
        let short = Err(Refusal::TooShort { min: 15 });
        let long = Err(Refusal::TooLong { max: 128 });
        let varied: String = (0..128).filter_map(|n| char::from_u32(0x4e00 + n * 37)).collect();
        for (text, expected) in [
            ("", short),
            ("fig lamp ostric", Ok(())),
            ("fig lamp ostri", short),
            // 14 and 15 characters; 14 of them are 42 bytes.
            ("犬猫鳥魚馬牛羊山川海空星月日", short),
            ("犬猫鳥魚馬牛羊山川海空星月日木", Ok(())),
            // 15 code points that are 14 characters once composed.
            ("fe\u{301}g lamp ostri", short),
            // One code point that is two characters: 15.
            ("\u{fb01}g lamp ostric", Ok(())),
            (varied.as_str(), Ok(())),
            (&format!("{varied}x"), long),
        ] {
            assert_eq!(check(text), expected, "{text}");
        }
    }

    #[test]
    fn good_passphrases_are_taken() {
        for text in [
            "violet kettle drives north",
            "violetkettledrivesnorth",
            "Marguerite eats seven plums",
            "kickout the winter jams",
            "xK9$mQ2!vL5&nR8",
            "8273 9164 5502 7731",
            "мой дядя самых честных правил",
            "password manager of my aunt",
            "1234 is not my password",
            "abcdefghijklmnopqrst!",
            "- - - - - - - - - - - - a1b",
            "tulip trombone tulip trombone",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_first_guesses_are_refused() {
        for text in [
            // Common passwords, however they are written.
            "manchesterunited",
            "ManchesterUnited",
            "Manchester United",
            "ｍａｎｃｈｅｓｔｅｒ　united",
            "world of warcraft",
            "This_is-my.password",
            "BLCKD_SA_UNPAIDFEE_OCT06",
            // Common passwords and short units, repeated.
            "passwordpassword",
            "PasswordPASSWORDpassword",
            "password password password",
            "sunshinesunshinesun",
            "aaaaaaaaaaaaaaa",
            "AaAaAaAaAaAaAaA",
            "abcabcabcabcabc",
            "x7%x7%x7%x7%x7%x",
            "               ",
            "🦀🐙🦀🐙🦀🐙🦀🐙🦀🐙🦀🐙🦀🐙🦀",
            // Runs.
            "12345678901234567890",
            "09876543210987654321",
            "abcdefghijklmnopqrst",
            "TsRqPoNmLkJiHgFeDcBa",
            "qwertyuiopasdfghjkl",
            "lkjhgfdsapoiuytrewq",
            "qwertzuiopasdfghjkl",
            "azertyuiopqsdfghjkl",
            "1qaz2wsx3edc4rfv5tgb",
            "q1w2e3r4t5y6u7i8",
            "!@#$%^&*()!@#$%^&*()",
            "abcdefgh12345678",
            "1111222233334444",
            "1234-5678-9012-3456",
            "abc def ghi jkl mno",
        ] {
            assert_eq!(check(text), Err(Refusal::Common), "{text}");
        }
    }

    #[test]
    fn names_alone_repeated_or_with_digits_are_refused() {
        for (text, username) in [
            ("wolfgang-amadeus", "wolfgang-amadeus"),
            ("Wolfgang Amadeus", "wolfgang-amadeus"),
            ("WolfgangAmadeus1", "wolfgang.amadeus"),
            ("margueritemarguerite", "marguerite"),
            ("MARGUERITE20261231", "marguerite"),
            ("1999marguerite1999", "Marguerite"),
            ("marguerite!2026!!!", "marguerite"),
            ("m-a-r-g-u-e-r-i-t-e", "marguerite"),
            ("ren\u{e9}2026rene\u{301}2026", "Rene\u{301}"),
            ("kickoutkickoutkickout", "marguerite"),
            ("Kickout 2026 12 31", "marguerite"),
            ("margueritekickout", "marguerite"),
            ("kickout-kickout-1", "kick"),
            ("4917112345678!!!", "4917112345678"),
        ] {
            assert_eq!(check_with(15, text, username), Err(Refusal::LikeUsername), "{text}");
        }
        for (text, username) in [
            ("8273 9164 5502 7731", "7"),
            ("violet kettle drives", ""),
            ("violet kettle drives", "violet"),
            ("marguerite2026123a", "marguerite"),
        ] {
            assert_eq!(check_with(15, text, username), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_lower_minimum_leaves_the_list_to_refuse_what_is_common() {
        for text in ["iloveyou", "ILoveYou", "trustno1", "!QAZ2wsx", "football"] {
            assert_eq!(check_with(8, text, "marguerite"), Err(Refusal::Common), "{text}");
        }
        assert_eq!(check_with(8, "vq8 plum", "marguerite"), Ok(()));
    }

    #[test]
    fn a_refusal_tells_the_user_what_to_do() {
        for refusal in
            [Refusal::TooShort { min: 15 }, Refusal::TooLong { max: 128 }, Refusal::Common, Refusal::LikeUsername]
        {
            assert!(refusal.to_string().contains("lease choose "), "{refusal}");
        }
        assert!(Refusal::TooShort { min: 15 }.to_string().contains("15 characters"));
    }
}
