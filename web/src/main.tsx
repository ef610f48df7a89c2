// The pages: one program for every address of the dashboard. The address says which page it shows.
import { start } from "./start";
import { base } from "./wire/base";

base();
start();
