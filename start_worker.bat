@echo off
rem Start a worker of a Prefect work pool: start_worker.bat --help
setlocal
cd /d "%~dp0"
call scripts\venv.bat requirements.txt || exit /b 1

"%VENV_PYTHON%" start_worker.py %*
exit /b %ERRORLEVEL%
