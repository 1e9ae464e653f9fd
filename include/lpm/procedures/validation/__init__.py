"""The procedure ``validate``: cases of ``test_plan.yml`` on canary companies, end to end, safe in production."""
