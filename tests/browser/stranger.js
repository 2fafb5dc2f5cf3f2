/** Posts to the page beside it what its own embedder asks for: another window that imitates the desktop. */
addEventListener("message", ({ data, source }) => {
  if (source === parent && data.imitate) parent.frames[0].postMessage(data.imitate, "*");
});
