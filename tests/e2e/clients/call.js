// Signs and sends one call with npm's package of the vendor, and prints what was answered.
// Reads {host, accessKey, secretKey, path, body} from its input; the package is on NODE_PATH.
const core = require('jdcloud-sdk-js')

const asked = JSON.parse(require('fs').readFileSync(0, 'utf8'))

class Search extends core.Service {
  constructor () {
    super('search', {
      credentials: new core.Credentials({
        accessKeyId: asked.accessKey,
        secretAccessKey: asked.secretKey
      }),
      endpoint: { protocol: 'http', host: asked.host },
      regionId: 'cn-north-1',
      logger: () => {}
    })
  }
}

const json = ['application/json']
core.config.logger = () => {}
new Search()
  .makeRequest(asked.path, 'POST', {}, {}, {}, {}, asked.body, json, json, null)
  .catch(refused => refused)
  .then(({ responseObj, ...answer }) => console.log(JSON.stringify(answer)))
