"use strict";
(function () {
  var command = document.getElementById("command");
  if (!command) return;
  var secret = location.hash;
  // Anything else than a secret could break out of the quotes in somebody's shell.
  var whole = /^#[A-Za-z0-9_-]{43}$/.test(secret);
  var plain = /^https?:\/\/[A-Za-z0-9.:\[\]-]+\/f\/[0-9a-f]{64}$/;
  var url = location.origin + location.pathname;
  var cut = document.getElementById("cut");
  if (plain.test(url)) {
    if (whole) command.textContent = "towpath get '" + url + secret + "'";
    else if (!cut) command.textContent = "towpath get '" + url + "'";
  }
  if (cut && !whole) {
    cut.hidden = false;
    return;
  }
  var copy = document.getElementById("copy");
  if (!copy || !navigator.clipboard) return;
  copy.hidden = false;
  copy.addEventListener("click", function () {
    navigator.clipboard.writeText(command.textContent).then(
      function () { copy.textContent = "Copied"; },
      function () { copy.hidden = true; }
    );
  });
})();
