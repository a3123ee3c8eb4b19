//! A new password: typed in a terminal, or the one line of standard input.

use std::io::{self, BufRead, IsTerminal, Read};

use zeroize::Zeroizing;

use crate::admin::PlainPassword;

/// The most that is read of standard input, in bytes: far more than any password, so that a wrong file is noticed.
const MAX_BYTES: u64 = 4096;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It could not be read.
    #[error("the password cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There was none.
    #[error("no password was given. Type one in a terminal, or send it to standard input as one line")]
    Absent,
    /// More came in than one line.
    #[error("standard input has more than one line, and only the password belongs there")]
    TooMuch,
    /// It was typed in two ways.
    #[error("the two passwords differ. Nothing was done")]
    Differ,
}

/// Reads a new password for a user.
pub(super) fn read(user: &str) -> Result<PlainPassword, PasswordError> {
    if !io::stdin().is_terminal() {
        return first_line(io::stdin().lock());
    }
    // The name is shown as it was typed a moment ago, without what could move the cursor.
    let password = Zeroizing::new(rpassword::prompt_password(format!("Password for {}: ", user.escape_debug()))?);
    if password.is_empty() {
        return Err(PasswordError::Absent);
    }
    let again = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
    if password != again {
        return Err(PasswordError::Differ);
    }
    Ok(PlainPassword::from(password.as_str().to_owned()))
}

/// The only line of some input, without its line break.
fn first_line(input: impl BufRead) -> Result<PlainPassword, PasswordError> {
    // Room for all of it, since a buffer that grows leaves a copy behind that is not wiped.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_BYTES + 1).unwrap_or(0)));
    input.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(PasswordError::Absent);
    }
    if text.len() as u64 > MAX_BYTES || line.contains('\n') {
        return Err(PasswordError::TooMuch);
    }
    Ok(PlainPassword::from(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> Result<String, PasswordError> {
        let password = first_line(input.as_bytes())?;
        Ok(serde_json::from_value(serde_json::to_value(password).unwrap()).unwrap())
    }

    #[test]
    fn a_password_is_the_one_line_of_the_input_with_its_spaces() {
        for input in [" four words  here ", " four words  here \n", " four words  here \r\n"] {
            assert_eq!(read(input).unwrap(), " four words  here ", "{input:?}");
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        for input in ["", "\n", "\r\n"] {
            assert!(matches!(read(input), Err(PasswordError::Absent)), "{input:?}");
        }
        for input in ["one\ntwo", "one\n\n", &"x".repeat(5000)] {
            assert!(matches!(read(input), Err(PasswordError::TooMuch)), "{:?}", input.len());
        }
    }
}
