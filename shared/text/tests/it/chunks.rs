//! Properties of chunks, for any text.

use docuchat_text::{ChunkOptions, Page, TokenCounter, chunk, counter_for_model, join_pages};
use icu_segmenter::GraphemeClusterSegmenter;
use proptest::prelude::*;

/// Counts words and long words more than once; fast, so that many cases run.
struct Words;

impl TokenCounter for Words {
    fn count(&self, text: &str) -> usize {
        text.split_whitespace().map(|word| word.chars().count().div_ceil(4)).sum()
    }

    fn name(&self) -> &'static str {
        "words"
    }
}

fn check(pages: &[Page], options: &ChunkOptions, counter: &dyn TokenCounter) {
    let chunks = chunk(pages, options, counter);
    let text: Vec<char> = join_pages(pages).chars().collect();
    let borders: Vec<usize> = {
        let joined: String = text.iter().collect();
        let bytes: Vec<usize> = GraphemeClusterSegmenter::new().segment_str(&joined).collect();
        let mut places = Vec::new();
        let places_of_bytes = joined.char_indices().map(|(byte, _)| byte).chain([joined.len()]);
        for (chars, byte) in places_of_bytes.enumerate() {
            if bytes.binary_search(&byte).is_ok() {
                places.push(chars);
            }
        }
        places
    };
    let mut covered = 0;
    for (index, piece) in chunks.iter().enumerate() {
        assert_eq!(piece.ordinal, index);
        assert_eq!(
            piece.text,
            text[piece.char_start..piece.char_end].iter().collect::<String>(),
            "the range is the text"
        );
        assert_eq!(piece.text.trim(), piece.text);
        assert!(!piece.text.is_empty());
        assert_eq!(piece.tokens, counter.count(&piece.text));
        let single = piece.text.chars().count() == 1;
        assert!(piece.tokens <= options.max_tokens || single, "{} tokens", piece.tokens);
        assert!(piece.page_start <= piece.page_end);
        assert_eq!(piece.page_breaks.len(), (piece.page_end - piece.page_start) as usize);
        assert!(piece.page_breaks.iter().all(|at| *at > 0 && *at < piece.text.chars().count()));
        // What lies between two chunks is white space; nothing is out of order.
        if piece.char_start > covered {
            assert!(
                text[covered..piece.char_start].iter().all(|letter| letter.is_whitespace()),
                "a gap in the coverage"
            );
        }
        if let Some(before) = index.checked_sub(1).and_then(|index| chunks.get(index)) {
            assert!(
                piece.char_start > before.char_start && piece.char_end > before.char_end,
                "contained in its neighbour"
            );
        }
        // Inside a grapheme only where one alone is over the cap.
        for border in [piece.char_start, piece.char_end] {
            // A mark over a space is a grapheme with it; the space is trimmed all the same.
            let trimmed = border.checked_sub(1).is_some_and(|index| text[index].is_whitespace());
            let whole = trimmed || borders.binary_search(&border).is_ok();
            let around: String =
                text[border.saturating_sub(3)..(border + 3).min(text.len())].iter().collect();
            assert!(whole || options.max_tokens < 40, "inside a grapheme: {around:?}");
        }
        covered = piece.char_end;
    }
    assert!(text[covered..].iter().all(|letter| letter.is_whitespace()), "the end is not covered");
}

fn pages(texts: Vec<String>) -> Vec<Page> {
    (1..).zip(texts).map(|(number, text)| Page::new(number, text)).collect()
}

proptest! {
    #[test]
    fn any_text(texts in prop::collection::vec("\\PC{0,300}", 0..5), max_tokens in 1_usize..60, overlap_tokens in 0_usize..30) {
        check(&pages(texts), &ChunkOptions { max_tokens, overlap_tokens }, &Words);
    }

    #[test]
    fn sentences(
        texts in prop::collection::vec("([A-Za-zا-ی]{1,9}[ ,]{1,2}){0,40}([a-zا-ی]{1,6}[.!?؟] ){0,30}", 1..6),
        max_tokens in 5_usize..80,
    ) {
        check(&pages(texts), &ChunkOptions { max_tokens, overlap_tokens: max_tokens / 10 }, &Words);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn real_tokens(texts in prop::collection::vec("(\\PC{0,40}|[ا-ی\u{200C} ]{0,60}|[a-z .]{0,80}){0,6}", 1..4), max_tokens in 8_usize..60) {
        check(&pages(texts), &ChunkOptions { max_tokens, overlap_tokens: max_tokens / 8 }, counter_for_model("gpt-4o"));
    }
}

#[test]
fn borders_are_those_of_sentences() {
    let sentence = |index: usize| format!("Sentence number {index} has a few words in it and then it ends.");
    let text: Vec<String> = (0..200).map(sentence).collect();
    let pages = pages(vec![text[..100].join(" "), text[100..].join(" ")]);
    let chunks = chunk(&pages, &ChunkOptions::default(), counter_for_model("text-embedding-3-small"));
    assert!(chunks.len() > 5);
    for piece in &chunks {
        assert!(piece.text.starts_with("Sentence") && piece.text.ends_with('.'), "{}", piece.text);
        assert!(piece.tokens > 350 || piece.ordinal + 1 == chunks.len(), "{} tokens", piece.tokens);
    }
    // Neighbours share whole sentences within the overlap.
    for pair in chunks.windows(2) {
        let shared = pair[0].char_end.saturating_sub(pair[1].char_start);
        assert!(shared > 0, "no overlap");
        let tail: String = pair[1].text.chars().take(shared).collect();
        assert!(pair[0].text.ends_with(&tail));
        assert!(counter_for_model("text-embedding-3-small").count(&tail) <= 40);
    }
    let crossing = chunks
        .iter()
        .find(|piece| piece.page_start == 1 && piece.page_end == 2)
        .expect("a chunk over both pages");
    assert!(crossing.text.contains("\n\n"));
}

#[test]
fn persian_is_never_cut_inside_a_word() {
    let text = "کتاب‌های بسیاری در کتابخانه‌ها نگهداری می‌شوند و خوانندگان آن‌ها را می‌خوانند، ".repeat(200);
    let pages = pages(vec![text.clone()]);
    let chunks = chunk(&pages, &ChunkOptions::default(), counter_for_model("gpt-4o"));
    assert!(chunks.len() > 3);
    let words: std::collections::HashSet<&str> = text.split_whitespace().collect();
    for piece in &chunks {
        assert!(
            piece.text.split_whitespace().all(|word| words.contains(word)
                || words.contains(format!("{word}،").as_str())
                || word == "،"),
            "{}",
            piece.text
        );
    }
}

#[test]
fn space_before_a_joiner() {
    let text = "ا ا٭ا\u{200c} ٭ اػاػ\u{200c} بثت\u{200c}ؼ\u{200c} \u{200c}\u{200c} ٫ٱڬ\u{200c}  \u{650}\u{653}\u{65e}\u{657}\u{200c} \u{200c}\u{65e}\u{200c} \u{200c} ق \u{200c}\u{200c}\u{200c}ڄ \u{200c}ڰښػ\u{200c}  ٽ\u{200c}   ٴ ٶ\u{200c}\u{200c}\u{65c} ہ  \u{200c} ڧڭ ٭ ة\u{652}ٯ \u{200c}\u{200c}এଦ🕴_𐞃𝒞𑌓𛅐\u{c63}z_ㄲȺp🁟G🇪ej🈨𞹉ѨLѨ+F={&{$𑌦=𞅎\"Ⱥ𐔜\\9";
    let options = ChunkOptions { max_tokens: 57, overlap_tokens: 7 };
    check(&pages(vec![text.to_owned()]), &options, counter_for_model("gpt-4o"));
}

#[test]
fn nothing_gives_nothing_and_one_long_word_is_cut() {
    assert!(chunk(&[], &ChunkOptions::default(), &Words).is_empty());
    assert!(chunk(&pages(vec![" \n ".to_owned()]), &ChunkOptions::default(), &Words).is_empty());
    let long = pages(vec!["x".repeat(20_000)]);
    check(&long, &ChunkOptions::default(), counter_for_model("gpt-4o"));
    check(&long, &ChunkOptions { max_tokens: 0, overlap_tokens: 99 }, &Words);
}
