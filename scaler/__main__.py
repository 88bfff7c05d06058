"""`python -m scaler` is `ai-hpa`; nothing else may be in here."""

from scaler.cli import main

if __name__ == "__main__":
    main()
