// Shows the document in Swagger UI. Its address is told from the script's own, which stays the same under any
// prefix and with or without a slash at the end of the page's.

// An operation that is also for nobody in particular is no reason to show a closed padlock before anybody logged in:
// Swagger UI takes the empty requirement for one that is met.
const padlocks = {
  statePlugins: {
    auth: {
      wrapSelectors: {
        // The original brings the state itself.
        isAuthorized: (original) => (_, requirements) =>
          original(requirements?.filter((requirement) => requirement.size > 0)),
      },
    },
  },
}

SwaggerUIBundle({
  url: new URL('../openapi.json', document.currentScript.src).href,
  dom_id: '#docs',
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  plugins: [() => padlocks],
  // No badge from validator.swagger.io.
  validatorUrl: null,
})
