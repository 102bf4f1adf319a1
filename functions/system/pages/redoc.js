// Shows the document in ReDoc. Its address is told from the script's own, which stays the same under any
// prefix and with or without a slash at the end of the page's.
Redoc.init(
  new URL('../openapi.json', document.currentScript.src).href,
  { nativeScrollbars: true },
  document.getElementById('redoc'),
)
