//! A file that travels inside the binary.
//!
//! Pages need no directory on the disk of the server, so they cannot be missing,
//! stale or changed by somebody else.
//!
//! Invariant: an asset is known at compile time, and its content type fits its name.

/// One file of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asset {
    /// The whole path under which it is served, such as `/agent-desktop/page.js`.
    pub path: &'static str,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The bytes, as they stand in the source.
    pub body: &'static [u8],
}

/// An HTML page.
pub const HTML: &str = "text/html; charset=utf-8";
/// A style sheet.
pub const CSS: &str = "text/css; charset=utf-8";
/// A script; browsers refuse a module with any other type.
pub const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The asset with exactly this path.
#[must_use]
pub fn find(assets: &'static [Asset], path: &str) -> Option<&'static Asset> {
    assets.iter().find(|asset| asset.path == path)
}

/// What every page of ours is held to, in its tests.
#[cfg(test)]
pub(crate) mod house_rules {
    use super::{Asset, CSS, HTML, SCRIPT, find};

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.body).unwrap()
    }

    /// The values of `src` and `href` that lead to another file.
    fn references(html: &str) -> Vec<&str> {
        ["src=\"", "href=\""]
            .iter()
            .flat_map(|attribute| html.split(attribute).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .filter(|value| !value.starts_with("data:") && !value.starts_with('#'))
            .collect()
    }

    /// The asset that a relative reference leads to.
    fn beside(assets: &'static [Asset], from: &Asset, name: &str) -> Option<&'static Asset> {
        let (directory, _) = from.path.rsplit_once('/').unwrap();
        find(assets, &format!("{directory}/{name}"))
    }

    /// Panics unless the page stands on its own and a strict policy lets it work.
    pub(crate) fn assert_kept(assets: &'static [Asset]) {
        for asset in assets {
            let expected = match asset.path.rsplit_once('.') {
                _ if asset.path.ends_with('/') => HTML,
                None | Some((_, "html")) => HTML,
                Some((_, "css")) => CSS,
                Some((_, "js")) => SCRIPT,
                Some((_, other)) => panic!("no content type for .{other}"),
            };
            assert_eq!(asset.content_type, expected, "{}", asset.path);
            let body = text(asset);
            assert!(!body.contains("@import"), "{} imports a style", asset.path);
            for scheme in ["src=\"http", "href=\"http", "url(http", "from \"http"] {
                assert!(
                    !body.contains(scheme),
                    "{} loads from elsewhere",
                    asset.path
                );
            }
            if asset.content_type == SCRIPT {
                for line in body.lines() {
                    let Some(rest) = line.strip_prefix("import ") else {
                        continue;
                    };
                    let name = rest.split('"').nth(1).unwrap().trim_start_matches("./");
                    assert!(
                        beside(assets, asset, name).is_some(),
                        "{name} is not shipped"
                    );
                }
                for unsafe_way in [
                    "innerHTML",
                    "outerHTML",
                    "insertAdjacentHTML",
                    "document.write",
                    "eval(",
                ] {
                    assert!(
                        !body.contains(unsafe_way),
                        "{} uses {unsafe_way}",
                        asset.path
                    );
                }
            }
            if asset.content_type == HTML {
                assert!(
                    body.contains("<html lang=\""),
                    "{} names no language",
                    asset.path
                );
                for inline in ["<style", " style=", " onclick=", "<script>"] {
                    assert!(!body.contains(inline), "{} has inline {inline}", asset.path);
                }
                for name in references(body) {
                    assert!(
                        beside(assets, asset, name).is_some(),
                        "{name} is not shipped"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[Asset] = &[Asset {
        path: "/x/page.css",
        content_type: CSS,
        body: b"p{}",
    }];

    #[test]
    fn an_asset_is_found_by_its_exact_path_only() {
        assert_eq!(find(ONE, "/x/page.css"), Some(&ONE[0]));
        for path in [
            "",
            "/",
            "x/page.css",
            "/x/page.CSS",
            "/x/../x/page.css",
            "/x/page.css/",
        ] {
            assert_eq!(find(ONE, path), None, "{path}");
        }
    }
}
