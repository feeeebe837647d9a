#!/bin/sh
# The usual shell loop: list, filter by age, terminate one after the other.
cutoff=$(date -u -d '12 hours ago' +%s)
aws ssm describe-sessions --state Active \
    --query "Sessions[?StartDate<\`$cutoff\`].SessionId" --output text |
    tr '\t' '\n' | xargs -r -n 1 aws ssm terminate-session --session-id >/dev/null
