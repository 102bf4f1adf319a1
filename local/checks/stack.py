"""What no linter sees of template.yaml: transformed as CloudFormation does it, held against what it promises, and
deployed to moto as far as moto goes. Run by local/checks/template."""

import json
import logging
import os
import re
import sys
import tomllib
import warnings
from pathlib import Path

os.environ.update(
    AWS_DEFAULT_REGION="us-east-1",
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
)
# Of what moto cannot make, of which this file has its own list, and of an old switch of the transform.
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

ROOT = Path(__file__).parents[2]
API_FUNCTIONS = ["Auth", "Users", "Posts", "Votes", "System"]

# What moto 5.2 cannot make from a template, and is therefore left out there. README.md names it as unchecked.
NOT_IN_MOTO = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Lambda::Alias",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBProxy",
    "AWS::RDS::DBProxyTargetGroup",
    "AWS::Scheduler::Schedule",
    "AWS::SecretsManager::Secret",
    "Custom::Migrations",
}


class NoManagedPolicies:
    """SAM asks for them by name; the template names them by ARN."""

    def load(self):
        return {}


def transformed(parameters=None):
    """The template as CloudFormation sees it after SAM's transform, with its default parameters or others."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code.zip"
    values = {name: one.get("Default") for name, one in template["Parameters"].items()}
    return transform(template, values | (parameters or {}), NoManagedPolicies())


def of_type(template, kind):
    return {name: one for name, one in template["Resources"].items() if one["Type"] == kind}


def routes(template):
    """The keys of the API's routes, as `POST /auth/login`, with the function that each goes to."""
    found = {}
    for path, methods in template["Resources"]["Api"]["Properties"]["Body"]["paths"].items():
        for method, operation in methods.items():
            any_method = method == "x-amazon-apigateway-any-method"
            key = "$default" if path == "$default" else f"{'ANY' if any_method else method.upper()} {path}"
            uri = json.dumps(operation["x-amazon-apigateway-integration"]["uri"])
            found[key] = re.search(r"(\w+)Function", uri).group(1)
    return found


def route_of(keys, method, path):
    """The route that takes a request: a whole path before a greedy one, its own method before any (the
    gateway's rule)."""
    greedy = [key for key in keys if key.endswith("/{proxy+}")]
    for candidates in (
        [f"{method} {path}", f"ANY {path}"],
        sorted(
            (
                key
                for key in greedy
                if key.split()[0] in (method, "ANY") and path.startswith(key.split()[1].removesuffix("{proxy+}"))
            ),
            key=lambda key: (-len(key.split()[1]), key.startswith("ANY")),
        ),
    ):
        for candidate in candidates:
            if candidate in keys:
                return candidate
    return "$default"


def every_endpoint_reaches_its_function(template):
    keys = routes(template)
    folders = {"auth": "Auth", "posts": "Posts", "system": "System", "users": "Users", "votes": "Votes"}
    looked_at = 0
    for folder, function in folders.items():
        source = (ROOT / "functions" / folder / "src" / "lib.rs").read_text()
        for path in re.findall(r'\.route\(\s*"([^"]+)"', source):
            concrete = re.sub(r"\{\w+\}", "1", path)
            for variant in {concrete, concrete.rstrip("/") + "/"}:
                for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                    key = route_of(keys, method, variant)
                    assert keys[key] == function, f"{method} {variant} goes by {key} to {keys[key]}, not {function}"
                    looked_at += 1
    assert looked_at > 100, looked_at
    assert keys[route_of(keys, "GET", "/nothing")] == "System"


def no_slash_leads_around_a_throttle(template):
    stage = template["Resources"]["ApiApiGatewayDefaultStage"]["Properties"]
    keys = routes(template)
    settings = stage["RouteSettings"]
    assert set(settings) <= set(keys), "a throttle names a route that does not exist, which no deployment survives"
    logins = {"Ref": "LoginsPerSecond"}
    for method, path in [
        ("POST", "/auth/login"),
        ("POST", "/users"),
        ("DELETE", "/users/me"),
        ("PUT", "/users/me/password"),
    ]:
        for variant in (path, path + "/", path + "//"):
            key = route_of(keys, method, variant)
            assert settings.get(key, {}).get("ThrottlingRateLimit") == logins, f"{method} {variant}: {key}"
    # Whichever way the gateway reads a trailing slash, none of the routes to Argon2 is wider.
    for key, function in keys.items():
        if function in ("Auth", "Users") and key not in ("POST /auth/refresh", "GET /users/{proxy+}"):
            assert settings[key]["ThrottlingRateLimit"] == logins, key
    assert stage["StageName"] == "$default"
    log = stage["AccessLogSettings"]["Format"]
    assert isinstance(json.loads(log), dict) and "$context.path" not in log, "the access log is JSON without paths"


def both_kinds_of_cors_survive_the_transform(template):
    """SAM writes the property into the API's OpenAPI document, and has ideas of its own about functions in it."""
    written = yaml_parse((ROOT / "template.yaml").read_text())
    choice = written["Resources"]["Api"]["Properties"]["CorsConfiguration"]["Fn::If"]
    assert written["Conditions"][choice[0]] == {"Fn::Equals": [{"Ref": "CorsOrigins"}, "*"]}, choice[0]
    for origins in ("*", "https://one.example", "https://one.example,http://localhost:3000"):
        cors = transformed({"CorsOrigins": origins})["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-cors"]
        assert set(cors) == {"Fn::If"} and cors["Fn::If"][0] == choice[0], cors
        for said, become in zip(choice[1:], cors["Fn::If"][1:], strict=True):
            expected = {key[0].lower() + key[1:]: value for key, value in said.items()}
            if "Fn::Split" in expected["allowOrigins"]:
                comma, reference = expected["allowOrigins"]["Fn::Split"]
                assert reference == {"Ref": "CorsOrigins"}
                # The transform has put the parameter in by now.
                expected["allowOrigins"] = {"Fn::Split": [comma, origins]}
            assert become == expected, become
    any_origin, listed = choice[1:]
    assert any_origin["AllowOrigins"] == ["*"] and "AllowCredentials" not in any_origin
    assert listed["AllowCredentials"] is True and "*" not in listed["AllowHeaders"]
    assert any_origin["AllowMethods"] == listed["AllowMethods"] and any_origin["ExposeHeaders"] == listed["ExposeHeaders"]
    pattern = re.compile(written["Parameters"]["CorsOrigins"]["AllowedPattern"])
    for good in ("*", "https://one.example", "http://localhost:3000,capacitor://localhost"):
        assert pattern.fullmatch(good), good
    for bad in ("", "https://one.example/", "one.example", "https://One.example", "https://*.example", "https://a.example, https://b.example", "*,https://a.example"):
        assert not pattern.fullmatch(bad), bad


def every_wait_ends_before_the_one_around_it(template):
    settings = template["Resources"]["DatabaseSettings"]["Properties"]["Parameters"]
    pool = template["Resources"]["DatabaseProxyTargets"]["Properties"]["ConnectionPoolConfigurationInfo"]
    auth = template["Resources"]["AuthFunction"]["Properties"]
    request = re.search(
        r"const REQUEST_TIMEOUT: Duration = Duration::from_secs\((\d+)\)", (ROOT / "shared/src/app.rs").read_text()
    )
    lock, statement = int(settings["lock_timeout"]) / 1000, int(settings["statement_timeout"]) / 1000
    borrow = pool["ConnectionBorrowTimeout"]
    client = auth["Environment"]["Variables"]["DATABASE_STATEMENT_TIMEOUT_SECONDS"]
    gateway = {
        operation["x-amazon-apigateway-integration"]["timeoutInMillis"] / 1000
        for methods in template["Resources"]["Api"]["Properties"]["Body"]["paths"].values()
        for operation in methods.values()
    }
    assert lock < statement and borrow + statement < client < int(request.group(1)) < auth["Timeout"] < min(gateway)
    migrate = template["Resources"]["MigrateFunction"]["Properties"]["Timeout"]
    assert migrate < template["Resources"]["Migrations"]["Properties"]["ServiceTimeout"] <= 3600


def new_code_waits_for_the_migrations_and_moves_in_slowly(template):
    for name in API_FUNCTIONS:
        assert "Migrations" in template["Resources"][f"{name}Function"]["DependsOn"], name
        group = template["Resources"][f"{name}FunctionDeploymentGroup"]["Properties"]
        assert group["AlarmConfiguration"] == {"Enabled": True, "Alarms": [{"Name": {"Ref": f"{name}Faults"}}]}
        alias = template["Resources"][f"{name}FunctionAliaslive"]
        assert "CodeDeployLambdaAliasUpdate" in alias["UpdatePolicy"], name
    assert not [name for name in template["Resources"] if re.match("MigrateFunction(Version|Alias)", name)]
    token = template["Resources"]["Migrations"]["Properties"]["ServiceToken"]
    assert token == {"Fn::GetAtt": ["MigrateFunction", "Arn"]}, "the newest migrate function, by no alias"
    schedule = template["Resources"]["MigrateFunctionCleanUp"]["Properties"]["Target"]
    assert json.loads(schedule["Input"]) == {"action": "clean-up"}


def actions_of(statements):
    said = (statement["Action"] for statement in statements)
    return {action for actions in said for action in ([actions] if isinstance(actions, str) else actions)}


def a_role_may_do_what_it_needs_and_no_more(template):
    # Network interfaces and traces, which have no narrower resource than all.
    everywhere = ("ec2:", "xray:")
    resources = template["Resources"]
    shared = resources["FunctionPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    for name, allowed in {
        "ApiRole": {"secretsmanager:GetSecretValue"},
        "MigrateRole": set(),
        "ProxyRole": {"secretsmanager:GetSecretValue"},
    }.items():
        policies = resources[name]["Properties"].get("Policies", [])
        statements = [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]
        assert actions_of(statements) == allowed, name
        for statement in statements + shared:
            if "*" in json.dumps(statement["Resource"]):
                assert all(action.startswith(everywhere) for action in actions_of([statement])), name
    assert {action for action in actions_of(shared) if not action.startswith(everywhere)} == {
        "secretsmanager:GetSecretValue",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        assert function["Properties"]["Role"]["Fn::GetAtt"][0] in ("ApiRole", "MigrateRole"), name
        assert function["Properties"]["LoggingConfig"]["LogGroup"] == {"Ref": "FunctionLogs"}, name


def nothing_may_connect_anywhere(template):
    """Moto drops the rules for what goes out, so they are read here."""
    for name, group in of_type(template, "AWS::EC2::SecurityGroup").items():
        rules = group["Properties"]["SecurityGroupEgress"]
        assert rules, f"{name}: without a rule everything may go out"
        for rule in rules:
            assert rule["IpProtocol"] != "-1" and rule["FromPort"] != 0, name
            if rule.get("CidrIp") == "0.0.0.0/0":
                assert name == "MigrateSecurityGroup" and rule["FromPort"] == rule["ToPort"] == 443, name
        assert "SecurityGroupIngress" not in group["Properties"], name
    for name, rule in of_type(template, "AWS::EC2::SecurityGroupIngress").items():
        assert "SourceSecurityGroupId" in rule["Properties"], f"{name} lets in more than a group"


def settings_are_ones_that_the_functions_read(template):
    source = (ROOT / "shared/src/config.rs").read_text()
    for name in of_type(template, "AWS::Lambda::Function"):
        for variable in template["Resources"][name]["Properties"]["Environment"]["Variables"]:
            assert variable == "RESTART" or f'"{variable}"' in source, f"no function reads {variable}"


def statements_have_names_where_the_proxy_tracks_them(template):
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        told = function["Properties"]["Environment"]["Variables"]["DATABASE_PREPARED_STATEMENTS"]
        assert told == {"Fn::If": ["NewDatabase", "true", "false"]}, f"{name}: {told}"


def the_dashboard_is_json(template):
    text, values = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(text)["widgets"]
    squares = [
        (x, y)
        for widget in widgets
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(squares) == len(set(squares)), "two widgets overlap"
    known = set(template["Resources"]) | set(values) | {"AWS::Region"}
    for name in re.findall(r"\$\{([\w:]+?)(?:\.\w+)?\}", text):
        assert name in known, name


def metrics_are_ones_that_the_functions_write(template):
    source = (ROOT / "shared/src/telemetry.rs").read_text()
    assert '"SocialMedia"' in source and '[&["Function"], &["Function", "Route"]]' in source
    # In the dashboard, whose body is a text, and in the alarms.
    body = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"][0]
    alarms = json.dumps(of_type(template, "AWS::CloudWatch::Alarm"), sort_keys=True)
    used = set(re.findall(r'\["SocialMedia", "(\w+)"', body)) | set(
        re.findall(r'"MetricName": "(\w+)", "Namespace": "SocialMedia"', alarms)
    )
    assert len(used) > 3, used
    for name in used:
        assert f'"{name}"' in source, f"no function writes {name}"


def samconfig_names_parameters_that_exist(template):
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    for environment in ("default", "staging", "production"):
        for override in config[environment]["deploy"]["parameters"]["parameter_overrides"]:
            name, value = override.split("=", 1)
            parameter = template["Parameters"][name]
            allowed = [str(one) for one in parameter.get("AllowedValues", [value])]
            assert value in allowed, f"{environment}: {override}"


def deploys_to_moto():
    """Two stacks: in a VPC of its own, and in one that exists. What moto cannot make, it is spared; then what it
    made is looked at through the APIs of the services."""
    with mock_aws():
        ec2 = boto3.client("ec2")
        boto3.client("s3").create_bucket(Bucket="bucket")
        boto3.client("s3").put_object(Bucket="bucket", Key="code.zip", Body=b"code")
        secret = boto3.client("secretsmanager").create_secret(Name="any", SecretString="{}")["ARN"]
        vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{n}.0/24")["Subnet"]["SubnetId"] for n in (0, 1)
        ]
        existing = ec2.create_security_group(GroupName="database", Description="-", VpcId=vpc)["GroupId"]

        own = created("own-vpc", secret, {"DatabaseHost": "db", "DatabaseSecurityGroupId": existing})
        given = created(
            "given-vpc",
            secret,
            {
                "VpcId": vpc,
                "SubnetIds": ",".join(subnets),
                "DatabaseHost": "db",
                "DatabaseSecurityGroupId": existing,
                "AlarmEmail": "somebody@example.com",
            },
        )
        assert "Vpc" in own and "Vpc" not in given and "SecretsEndpoint" not in given

        functions = {
            one["FunctionName"]: one for one in boto3.client("lambda").list_functions()["Functions"]
        }
        assert set(functions) == {
            f"{stack}-{name}"
            for stack in ("own-vpc", "given-vpc")
            for name in ("auth", "users", "posts", "votes", "system", "migrate")
        }
        inside = functions["given-vpc-posts"]["VpcConfig"]
        assert inside["SubnetIds"] == subnets, inside
        assert inside["SecurityGroupIds"] == [given["FunctionSecurityGroup"]]
        assert functions["own-vpc-migrate"]["VpcConfig"]["SecurityGroupIds"] == [
            own["FunctionSecurityGroup"],
            own["MigrateSecurityGroup"],
        ]
        assert functions["own-vpc-auth"]["Environment"]["Variables"]["JWT_SECRET_ARN"] == secret

        # Nobody connects to a function.
        group = ec2.describe_security_groups(GroupIds=[own["FunctionSecurityGroup"]])["SecurityGroups"][0]
        assert group["IpPermissions"] == [], group
        # The existing database lets the functions of both stacks in.
        database = ec2.describe_security_groups(GroupIds=[existing])["SecurityGroups"][0]
        let_in = {
            pair["GroupId"] for rule in database["IpPermissions"] for pair in rule["UserIdGroupPairs"]
        }
        assert let_in == {own["FunctionSecurityGroup"], given["FunctionSecurityGroup"]}, database
        # No subnet leads out: neither an internet gateway nor a NAT gateway, and no route but their own.
        assert not ec2.describe_internet_gateways()["InternetGateways"]
        assert not ec2.describe_nat_gateways()["NatGateways"]
        endpoints = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [own["Vpc"]]}])
        assert {one["ServiceName"] for one in endpoints["VpcEndpoints"]} == {
            "com.amazonaws.us-east-1.secretsmanager",
            "com.amazonaws.us-east-1.s3",
        }

        logs = {one["logGroupName"]: one for one in boto3.client("logs").describe_log_groups()["logGroups"]}
        for name in ("/aws/lambda/own-vpc", "/aws/vendedlogs/own-vpc-access"):
            assert logs[name]["retentionInDays"] == 30, logs

        told = boto3.client("sns").list_subscriptions()["Subscriptions"]
        assert [(one["TopicArn"], one["Endpoint"]) for one in told] == [
            (given["AlarmTopic"], "somebody@example.com")
        ], told
        return len(own), len(given)


def created(stack, secret, parameters):
    """The resources of a new stack in moto, by name."""
    template = transformed(parameters)
    left_out = {name for name, one in template["Resources"].items() if one["Type"] in NOT_IN_MOTO}
    text = json.dumps(
        {
            "Parameters": template["Parameters"],
            "Conditions": template["Conditions"],
            "Resources": {name: one for name, one in template["Resources"].items() if name not in left_out},
        }
    )
    # The secret is made by its own API.
    resources = json.loads(text.replace('{"Ref": "SigningKey"}', json.dumps(secret)))
    for one in resources["Resources"].values():
        before = one.get("DependsOn", [])
        before = [before] if isinstance(before, str) else before
        one["DependsOn"] = [name for name in before if name not in left_out]
    without_new_database(resources)
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName=stack,
        TemplateBody=json.dumps(resources),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    status = client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    assert status == "CREATE_COMPLETE", status
    made = client.describe_stack_resources(StackName=stack)["StackResources"]
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in made if "PhysicalResourceId" in one}


def without_new_database(template):
    """Moto makes no cluster and no proxy: everything that stands under their condition goes, and every choice
    by it is made."""
    conditions = ("NewDatabase", "HasStandby")
    template["Resources"] = {
        name: one for name, one in template["Resources"].items() if one.get("Condition") not in conditions
    }

    def chosen(value):
        if isinstance(value, dict):
            choice = value.get("Fn::If")
            if choice and choice[0] == "NewDatabase":
                return chosen(choice[2])
            return {key: chosen(one) for key, one in value.items()}
        if isinstance(value, list):
            return [chosen(one) for one in value]
        return value

    template["Resources"] = chosen(template["Resources"])


def main():
    template = transformed()
    for check in (
        every_endpoint_reaches_its_function,
        no_slash_leads_around_a_throttle,
        both_kinds_of_cors_survive_the_transform,
        every_wait_ends_before_the_one_around_it,
        new_code_waits_for_the_migrations_and_moves_in_slowly,
        a_role_may_do_what_it_needs_and_no_more,
        nothing_may_connect_anywhere,
        settings_are_ones_that_the_functions_read,
        statements_have_names_where_the_proxy_tracks_them,
        metrics_are_ones_that_the_functions_write,
        the_dashboard_is_json,
        samconfig_names_parameters_that_exist,
    ):
        check(template)
        print(f"ok {check.__name__.replace('_', ' ')}")
    own, given = deploys_to_moto()
    print(f"ok deploys to moto ({own} resources in a VPC of its own, {given} in one that exists)")
    by_moto = {one["Type"] for one in template["Resources"].values()} & NOT_IN_MOTO
    assert by_moto == NOT_IN_MOTO, f"the list of what moto cannot make is out of date: {NOT_IN_MOTO - by_moto}"


if __name__ == "__main__":
    sys.exit(main())
