//! The mail with the code, in English and in Persian.

use docuchat_domain::limits::CODE_SECONDS;

/// The subject. Without the code: subjects are shown on locked screens and kept in mail logs.
pub const SUBJECT: &str = "DocuChat sign-in code | کد ورود";

/// The text. The code stands alone on its line, so that programs find it and people can select it.
#[must_use]
pub fn text(code: &str) -> String {
    let minutes = CODE_SECONDS / 60;
    let persian_minutes = persian(minutes);
    format!(
        "Your code to sign in to DocuChat:\n\
         کد ورود شما به DocuChat:\n\
         \n\
         {code}\n\
         \n\
         It is valid for {minutes} minutes and works once. If you did not ask for it, ignore this mail and give the code to nobody.\n\
         \n\
         این کد تا {persian_minutes} دقیقه معتبر است و فقط یک بار کار می‌کند. اگر شما آن را نخواسته‌اید، این پیام را نادیده بگیرید و کد را به کسی ندهید.\n"
    )
}

/// A number in Persian digits.
fn persian(number: i64) -> String {
    let digit = |c: char| c.to_digit(10).and_then(|d| char::from_u32(u32::from('۰') + d)).unwrap_or(c);
    number.to_string().chars().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_stands_alone_on_one_line() {
        let text = text("042137");
        assert_eq!(text.lines().filter(|line| *line == "042137").count(), 1);
        assert_eq!(text.matches("042137").count(), 1);
        assert!(!SUBJECT.contains("042137"));
    }

    #[test]
    fn both_languages_name_the_minutes() {
        let text = text("042137");
        assert!(text.contains("valid for 10 minutes") && text.contains("تا ۱۰ دقیقه"), "{text}");
    }
}
