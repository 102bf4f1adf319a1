// Shows the document in Swagger UI. Its address is told from the script's own, which stays the same under any
// prefix and with or without a slash at the end of the page's.
SwaggerUIBundle({
  url: new URL('../openapi.json', document.currentScript.src).href,
  dom_id: '#docs',
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  // No badge from validator.swagger.io.
  validatorUrl: null,
})
