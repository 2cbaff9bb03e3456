//! A number or a percentage of workers.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Number(u32),
    Percent(u32),
}

impl Share {
    pub fn rounded_up(self, of: u32) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (of * percent).div_ceil(100),
        }
    }

    pub fn rounded_down(self, of: u32) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => of * percent / 100,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
