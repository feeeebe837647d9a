"""A careful boto3 script for an organization: python organization.py ROLE REGION,… ACCOUNT…

32 threads over account-Regions, one AssumeRole an account, full pages, standard retries; an error in one
account-Region does not stop the others.
"""

import concurrent.futures
import datetime
import sys
import threading

import boto3
import botocore.config

ROLE, REGIONS, ACCOUNTS = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
CONFIG = botocore.config.Config(retries={"mode": "standard", "max_attempts": 3})
CUTOFF = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=12)
session, making = boto3.Session(), threading.Lock()
sts = boto3.client("sts", config=CONFIG.merge(botocore.config.Config(max_pool_connections=32)))


def assume(account):
    role = f"arn:aws:iam::{account}:role/{ROLE}"
    keys = sts.assume_role(RoleArn=role, RoleSessionName="careful")["Credentials"]
    return {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }


def sweep(assumed, region):
    keys = assumed.result()
    with making:  # A session is not for several threads, but with one the API's model is read once.
        ssm = session.client("ssm", region_name=region, config=CONFIG, **keys)
    pages = ssm.get_paginator("describe_sessions").paginate(
        State="Active", PaginationConfig={"PageSize": 200}
    )
    for page in pages:
        for it in page["Sessions"]:
            if it["StartDate"] < CUTOFF:
                ssm.terminate_session(SessionId=it["SessionId"])


with concurrent.futures.ThreadPoolExecutor(32) as pool:
    assumed = {account: pool.submit(assume, account) for account in ACCOUNTS}
    sweeps = {
        (account, region): pool.submit(sweep, assumed[account], region)
        for account in ACCOUNTS
        for region in REGIONS
    }
for where, it in sweeps.items():
    if error := it.exception():
        print(*where, error)
