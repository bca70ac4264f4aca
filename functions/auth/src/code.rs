//! Six digits: how a code is made and how a typed one is read.

use docuchat_domain::Entropy;

/// How many codes there are.
const CODES: u32 = 1_000_000;

/// The largest multiple of [`CODES`] that 32 bits hold. A number from here on is thrown away: the remainder of one
/// would favour the small codes.
const UNBIASED: u32 = u32::MAX - u32::MAX % CODES;

/// A code, each with the same chance.
pub fn generate(entropy: &dyn Entropy) -> String {
    loop {
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        let number = u32::from_be_bytes(bytes);
        if number < UNBIASED {
            return format!("{:06}", number % CODES);
        }
    }
}

/// A code as people type it: with blanks or dashes in it, or with the digits of a Persian or Arabic keyboard. Whatever
/// else it holds is kept, and is wrong then.
#[must_use]
pub fn normalised(typed: &str) -> String {
    typed
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{200c}' | '\u{200e}' | '\u{200f}'))
        .map(|c| match c {
            '۰'..='۹' => digit(c, '۰'),
            '٠'..='٩' => digit(c, '٠'),
            other => other,
        })
        .collect()
}

fn digit(c: char, zero: char) -> char {
    char::from_digit(u32::from(c).saturating_sub(u32::from(zero)), 10).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Gives these numbers, first to last.
    #[derive(Debug)]
    struct Scripted(Mutex<Vec<u32>>);

    impl Entropy for Scripted {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.copy_from_slice(&self.0.lock().unwrap().remove(0).to_be_bytes());
        }
    }

    fn generated(numbers: &[u32]) -> String {
        generate(&Scripted(Mutex::new(numbers.to_vec())))
    }

    #[test]
    fn codes_have_six_digits() {
        assert_eq!(generated(&[0]), "000000");
        assert_eq!(generated(&[42]), "000042");
        assert_eq!(generated(&[4_293_999_999]), "999999");
    }

    #[test]
    fn numbers_that_would_favour_small_codes_are_thrown_away() {
        assert_eq!(UNBIASED, 4_294_000_000);
        assert_eq!(generated(&[u32::MAX, 4_294_000_000, 1_234_567]), "234567");
    }

    #[test]
    fn typed_codes() {
        for typed in ["123456", " 123 456\n", "123-456", "۱۲۳۴۵۶", "١٢٣٤٥٦", "\u{200f}۱۲۳ ۴۵۶"]
        {
            assert_eq!(normalised(typed), "123456", "{typed:?}");
        }
        assert_eq!(normalised("12345x"), "12345x");
    }
}
