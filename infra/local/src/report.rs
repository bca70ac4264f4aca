//! Progress for people: a spinner or a bar on a terminal, plain lines anywhere else.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress goes. All of it goes to standard error, so that standard output holds only results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A bar that is redrawn.
    Terminal,
    /// One line when a step begins and one when it took long.
    Lines,
    /// Nothing (tests).
    Silent,
}

impl Report {
    /// A terminal when standard error is one, else lines.
    #[must_use]
    pub fn detect() -> Self {
        if stderr().is_terminal() { Self::Terminal } else { Self::Lines }
    }

    /// A sentence that stays on the screen.
    pub fn note(self, text: &str) {
        if self != Self::Silent {
            eprintln!("{text}");
        }
    }

    /// Begins a step of unknown length.
    #[must_use]
    pub fn step(self, text: &str) -> Step {
        let bar = match self {
            Self::Terminal => {
                let bar = ProgressBar::new_spinner().with_message(text.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            }
            Self::Lines => {
                eprintln!("{text} ...");
                ProgressBar::hidden()
            }
            Self::Silent => ProgressBar::hidden(),
        };
        Step { report: self, text: text.to_owned(), bar, started: Instant::now(), last: String::new() }
    }

    /// Begins a step whose length is known: bytes when `bytes`, else percent or pieces.
    #[must_use]
    pub fn bar(self, text: &str, length: u64, bytes: bool) -> Step {
        let mut step = Self::step(if self == Self::Terminal { Self::Silent } else { self }, text);
        step.report = self;
        if self == Self::Terminal {
            let template = if bytes {
                "{msg} [{bar:30}] {bytes} of {total_bytes}"
            } else {
                "{msg} [{bar:30}] {pos}/{len} {prefix}"
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            step.bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr())
                .with_style(style.progress_chars("=> "))
                .with_message(text.to_owned());
        }
        step
    }
}

/// A step under way. Dropped without [`Step::done`] it leaves no line behind, so that an error stands alone.
#[derive(Debug)]
pub struct Step {
    report: Report,
    text: String,
    bar: ProgressBar,
    started: Instant,
    last: String,
}

impl Step {
    /// Moves a bar.
    pub fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Says what is going on inside the step; off a terminal a line is written when it changes.
    pub fn detail(&mut self, text: &str) {
        match self.report {
            Report::Terminal => self.bar.set_prefix(text.to_owned()),
            Report::Lines if self.last != text => eprintln!("  {text}"),
            Report::Lines | Report::Silent => {}
        }
        text.clone_into(&mut self.last);
    }

    /// Ends the step.
    pub fn done(self) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        match self.report {
            Report::Terminal => eprintln!("{} ({seconds:.1} s)", self.text),
            Report::Lines if seconds > 5.0 => eprintln!("  done in {seconds:.1} s"),
            Report::Lines | Report::Silent => {}
        }
    }
}
