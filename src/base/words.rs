//! Words with a meaning: enums of which every value has one spelling.
//!
//! What is told apart by name in the database, the API, metrics, logs or on the page is such
//! an enum, made with [`words!`](macro@crate::words). Whoever lists its values iterates `ALL`,
//! whoever decides matches a value, and only the edge turns it into text.
//!
//! Invariant: a spelling stands once, in the definition of its enum.

/// Declares an enum with one spelling for each value: `ALL`, `label`, `parse`, and `Display`
/// with the spelling. The order of the values is the order in which they are listed.
#[macro_export]
macro_rules! words {
    ($(#[$m:meta])* $name:ident { $($(#[$vm:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vm])* $variant),+ }
        impl $name {
            /// Every value, in the order in which they are listed.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The one spelling.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
            /// Reads the one spelling.
            #[must_use]
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }
        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.label())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::gap::GapCause;
    use crate::rows::RecordState;

    #[test]
    fn each_value_is_listed_once_and_its_spelling_leads_back_to_it() {
        for cause in GapCause::ALL {
            assert_eq!(GapCause::parse(cause.label()), Some(*cause));
        }
        let mut labels: Vec<&str> = GapCause::ALL.iter().map(|c| c.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), GapCause::ALL.len());
        assert_eq!(RecordState::ALL[0], RecordState::Queued);
        assert_eq!(RecordState::parse("Queued"), None);
        assert_eq!(format!("{:>7}", RecordState::Dead), "   dead");
    }
}
