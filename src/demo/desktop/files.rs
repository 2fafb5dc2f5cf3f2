//! The desktop simulator's files (`src/desktop_simulator/`), and the policy that they are sent with.

use crate::asset::{Asset, CSS, HTML, SCRIPT};

/// The files; the root is the simulator itself.
pub(super) const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: HTML,
        body: include_bytes!("../../desktop_simulator/index.html"),
    },
    Asset {
        path: "/index.html",
        content_type: HTML,
        body: include_bytes!("../../desktop_simulator/index.html"),
    },
    Asset {
        path: "/simulator.css",
        content_type: CSS,
        body: include_bytes!("../../desktop_simulator/simulator.css"),
    },
    Asset {
        path: "/simulator.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/simulator.js"),
    },
    Asset {
        path: "/desktop.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/desktop.js"),
    },
    Asset {
        path: "/imitator.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/imitator.js"),
    },
    Asset {
        path: "/platform.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/platform.js"),
    },
    Asset {
        path: "/rules.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/rules.js"),
    },
    Asset {
        path: "/services.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/services.js"),
    },
    Asset {
        path: "/tools.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/tools.js"),
    },
    Asset {
        path: "/types.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/types.js"),
    },
    Asset {
        path: "/view.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/view.js"),
    },
    Asset {
        path: "/work.js",
        content_type: SCRIPT,
        body: include_bytes!("../../desktop_simulator/work.js"),
    },
];

/// It may show pages of the gateway's origin, by whichever name of this machine, and nobody may
/// embed it.
pub(super) fn policy(intake: &str) -> String {
    let port = intake.rsplit(':').next().unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; frame-src {intake} http://localhost:{port}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::{find, house_rules};

    #[test]
    fn the_desktop_simulator_keeps_the_house_rules() {
        house_rules::assert_kept(ASSETS);
    }

    #[test]
    fn every_file_of_the_desktop_simulator_is_shipped() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/desktop_simulator");
        for entry in std::fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let shipped = find(ASSETS, &format!("/{name}")).is_some();
            assert!(shipped, "{name} is not shipped");
        }
    }
}
