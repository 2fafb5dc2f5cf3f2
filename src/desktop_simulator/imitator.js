/**
 * Runs in a window beside the embedded pages and says what only the desktop may say. No page may believe it.
 *
 * @module imitator
 */

for (let index = 0; index < parent.frames.length; index += 1) {
  const window = parent.frames[index];
  const said = { userAgent: "WWE Server", protocolVersion: 2 };
  const interaction = { interactionId: "false", userData: { conversationId: "00000000-0000-4000-8000-000000000bad" }, state: "TALKING" };
  window.postMessage({ ...said, event: "interaction", data: { eventType: "ESTABLISHED", media: "voice", interaction } }, "*");
  for (let reference = 0; reference < 50; reference += 1) window.postMessage({ ...said, referenceId: String(reference), username: "imitator" }, "*");
}
